"""The lines of ``stages/choices.yaml``: what can be chosen by name, and what ``null`` stands for then."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

FILE = Path("stages/choices.yaml")

Target = Literal["masks", "classes", "labels"]  # of pairs: masks of 0 and 1, masks of classes, a label an image
Targets = Annotated[list[Target], BeforeValidator(lambda value: value if isinstance(value, list) else [value])]


class Line(BaseModel):
    """A line of a table; its values are checked as those of ``params.yaml`` are, where they stand for a null."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetLine(Line):
    """A source of pairs; no count means all that there are. Folds are those of stage ``judge``.

    Of several targets the first is that of most pairs; ``dataset.classes`` asks for "classes".
    """

    target: Targets
    image_size: Any
    train_count: Any
    test_count: Any
    pairs: Literal["drawn", "known", "files"]
    order_seed: Any = None
    folds: Any = 0


class NetworkLine(Line):
    """A network, and the options that it has.

    A value can be several, one for each kind of pairs.
    """

    target: Targets
    loss: Any
    score: Any
    size_multiple: int = Field(gt=0)
    base_filters: Any = None
    dropout: Any = None
    batch_normalization: Any = None
    momentum: Any = None
    initializer: Any = None
    head_filters: Any = None
    output: Any = None


class StrategyLine(Line):
    """A way to choose, the seed network that it needs, and how networks learn for it.

    A value can be several, one for each kind of pairs.
    """

    goal: Literal["learn", "try", "skip"]
    learning_rate: Any = 0.001
    average: Any = 0
    augmentation: Any = "none"
    statistics: Any = "moving"
    batch_size: Any = 10


class LossLine(Line):
    """A loss."""

    target: Targets


class ScoreLine(Line):
    """A score of a pair, and the best that a pair can have."""

    target: Targets
    best: float = Field(gt=0)


class Choices(Line):
    """The tables of stages/choices.yaml."""

    datasets: dict[str, DatasetLine]
    networks: dict[str, NetworkLine]
    strategies: dict[str, StrategyLine]
    losses: dict[str, LossLine]
    scores: dict[str, ScoreLine]


# The table whose line a key names.
NAMES = {
    "dataset.name": "datasets",
    "network.name": "networks",
    "select.strategy": "strategies",
    "training.loss": "losses",
    "score": "scores",
}

# Options that a network may have.
NETWORK_OPTIONS = tuple(name for name, field in NetworkLine.model_fields.items() if not field.is_required())

# The key whose line gives another key its value where params.yaml says null.
DEFAULTS = {
    "training.learning_rate": "select.strategy",
    "training.average": "select.strategy",
    "training.augmentation": "select.strategy",
    "training.statistics": "select.strategy",
    "seed_training.batch_size": "select.strategy",
    **{f"dataset.{key}": "dataset.name" for key in ("image_size", "train_count", "test_count")},
    **{f"network.{key}": "network.name" for key in NETWORK_OPTIONS},
    "select.order_seed": "dataset.name",
    "judge.folds": "dataset.name",
    "training.loss": "network.name",
    "seed_training.goal": "select.strategy",
    "score": "network.name",
}


def get(values: Any, dotted: str) -> Any:
    """A value by its dotted key; None where there is none."""
    for name in dotted.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def line_of(key: str, values: Mapping[str, Any]) -> str:
    """The line of stages/choices.yaml that a key takes its default from, as ``networks.residual_unet``."""
    chooser = DEFAULTS[key]
    return f"{NAMES[chooser]}.{get(values, chooser)}"


def target_of(values: Mapping[str, Any], choices: Choices) -> Target | None:
    """What the pairs of the chosen data set have beside an image; None where there is no such set."""
    line = choices.datasets.get(get(values, "dataset.name"))
    if line is None:
        return None
    return line.target[0] if get(values, "dataset.classes") is None else "classes"


def resolve(values: Mapping[str, Any], choices: Choices) -> tuple[dict[str, Any], set[str]]:
    """Replace nulls by the defaults of the chosen lines.

    Returns
    -------
    dict
        The values; those that were given are as they were.
    set of str
        Keys that were null.
    """
    resolved = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    nulls = set()
    pairs_of = target_of(values, choices)
    for key, chooser in DEFAULTS.items():
        *sections, name = key.split(".")
        target: Any = resolved.get(sections[0]) if sections else resolved
        line = getattr(choices, NAMES[chooser]).get(get(values, chooser))
        if isinstance(target, dict) and name in target and target[name] is None and line is not None:
            default = getattr(line, name)
            target[name] = default.get(pairs_of) if isinstance(default, Mapping) else default
            nulls.add(key)
    return resolved, nulls
