"""The typed, validated parameters of each stage.

``params.yaml`` is validated whole, so that a bad value stops the first stage and not the last. A stage then
gets the keys that ``dvc.yaml`` declares for it and no others: reading one that was not declared fails at once,
where it would otherwise serve a stale cache.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.errors import UserError

PARAMS_FILE = Path("params.yaml")
CHOICES_FILE = Path("stages/choices.yaml")
PIPELINE_FILE = Path("dvc.yaml")
NOTHING = "stages/none"  # stands for a file or folder that is not there, since DVC takes no null for a dependency

MIN_RADIUS = 2
INT_MAX = 2**63 - 1
LINE_LENGTH = 300  # of what others say about a file
FILE_BYTES = 2**16  # far more than a person writes; the parser takes seconds for it, and minutes for a megabyte or two


class Section(BaseModel):
    """A group of parameters; a key that the stage did not declare is absent, and reading it an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def __getattr__(self, name: str) -> Any:
        if name in type(self).model_fields:
            raise UndeclaredParameterError(
                f"dvc.yaml: this stage reads the parameter {name!r} of {type(self).__name__} without declaring it"
            )
        return super().__getattr__(name)  # type: ignore[misc]  # defined by pydantic outside of type checking


class UndeclaredParameterError(Exception):
    """A stage reads a parameter that ``dvc.yaml`` does not declare for it: a mistake in the project itself."""


class DatasetParams(Section):
    """Which pairs, and how many."""

    name: str
    image_size: int | None = Field(ge=1, le=4096)  # pixels of a mask are counted in float32: exact up to 2²⁴
    train_count: int | None = Field(ge=1, le=100_000_000)
    test_count: int | None = Field(ge=1, le=100_000_000)
    train_seed: int = Field(ge=0, le=INT_MAX)
    test_seed: int = Field(ge=0, le=INT_MAX)
    radius_min: float = Field(ge=MIN_RADIUS)
    radius_max: float = Field(ge=MIN_RADIUS)
    interference: Literal["rectangle", "triangle", "none"]
    train_interference: Literal["rectangle", "triangle", "none"] | None
    test_interference: Literal["rectangle", "triangle", "none"] | None
    dtype: Literal["uint8", "float32"]
    path: str
    images: str | None
    masks: str | None
    mask_values: list[int] | None
    tile: bool
    overlap: int = Field(ge=0, le=4096)
    fit: Literal["tile", "resize", "pad"]
    test_share: float = Field(ge=0, le=1)
    split_seed: int = Field(ge=0, le=INT_MAX)
    test_pattern: str | None
    group_pattern: str | None
    strict: bool


class NetworkParams(Section):
    """Which network, and how it is built; what a network has no use for is None."""

    name: str
    base_filters: int | None = Field(ge=1, le=1024)
    dropout: float | None = Field(ge=0, lt=1)
    batch_normalization: bool | None
    momentum: float | None = Field(ge=0, lt=1)
    initializer: Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal"] | None
    head_filters: int | None = Field(ge=0, le=1024)
    path: str


class TrainingParams(Section):
    """How the network learns, in every stage that trains it."""

    learning_rate: float = Field(gt=0, le=10)
    loss: str | None
    seed: int = Field(ge=0, le=INT_MAX)
    precision_policy: Literal["auto", "float32", "mixed_bfloat16"]
    statistics: Literal["moving", "estimated"]


class SeedTrainingParams(Section):
    """The first pairs, which the network learns before it chooses any."""

    count: int = Field(ge=1, le=INT_MAX)
    batch_size: int = Field(ge=1, le=65536)
    max_epochs: int = Field(ge=1, le=INT_MAX)
    goal: Literal["learn", "try", "skip"] | None


class SelectParams(Section):
    """How the core is chosen from the pool."""

    strategy: str
    batch_size: int = Field(ge=1, le=65536)
    scan_size: int = Field(ge=1, le=INT_MAX)
    order_seed: int | None = Field(ge=0, le=INT_MAX)
    max_epochs: int = Field(ge=1, le=INT_MAX)
    passes: Literal[1, "until_certified"]
    max_passes: int = Field(ge=2, le=INT_MAX)
    exclude: str
    start_from: str
    given: str
    size: int = Field(ge=1, le=INT_MAX)
    rating_epochs: int = Field(ge=1, le=INT_MAX)
    epochs: int = Field(ge=1, le=INT_MAX)
    steps: int | None = Field(ge=1, le=INT_MAX)
    averaged: float = Field(ge=0, le=1)


class AuditParams(Section):
    """What counts as a copy."""

    likeness: float = Field(gt=0, le=1)


class EvaluateParams(Section):
    """What evaluation makes of test pairs that stand in the pool, too."""

    on_leak: Literal["report", "drop", "fail"]


class Params(Section):
    """All of ``params.yaml``, or what a stage declares of it."""

    precision: float = Field(gt=0)
    tolerance: float = Field(gt=0, le=1)
    score: str | None
    dataset: DatasetParams
    network: NetworkParams
    training: TrainingParams
    seed_training: SeedTrainingParams
    select: SelectParams
    audit: AuditParams
    evaluate: EvaluateParams

    @property
    def bar(self) -> float:
        """The score below which a pair fails."""
        return self.precision * self.tolerance


# What a network may have a use for.
_OPTIONS = set(NetworkParams.model_fields) - {"name", "path"}

# Which line of stages/choices.yaml gives a key its value where params.yaml says null.
_DEFAULTS = {
    "dataset.image_size": ("datasets", "dataset.name"),
    "dataset.train_count": ("datasets", "dataset.name"),
    "dataset.test_count": ("datasets", "dataset.name"),
    **{f"network.{key}": ("networks", "network.name") for key in _OPTIONS},
    "training.loss": ("networks", "network.name"),
    "seed_training.goal": ("strategies", "select.strategy"),
    "score": ("networks", "network.name"),
}

# What a line of stages/choices.yaml has to say, and what it may say.
_LINE_KEYS = {
    "datasets": {"target", "image_size", "train_count", "test_count", "pairs"},
    "networks": {"target", "loss", "score", "size_multiple"},
    "strategies": {"goal"},
    "losses": {"target"},
    "scores": {"target", "best"},
}
_OPTIONAL_LINE_KEYS = {"networks": _OPTIONS}

# Keys that say which files are taken and how, and can be null.
_FILE_KEYS = ("images", "masks", "mask_values", "test_pattern", "group_pattern")

# What the values of a line may be, beside those that params.yaml may hold as well.
_LINE_VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "target": ("masks or labels", lambda value: value in ("masks", "labels")),
    "pairs": ("drawn, known or files", lambda value: value in ("drawn", "known", "files")),
    "goal": ("learn, try or skip", lambda value: value in ("learn", "try", "skip")),
    "size_multiple": ("integer greater than 0", lambda value: type(value) is int and value > 0),
    "best": ("number greater than 0", lambda value: type(value) in (int, float) and value > 0),
}

# Keys that name a line of stages/choices.yaml.
_NAMES = {
    "dataset.name": "datasets",
    "network.name": "networks",
    "select.strategy": "strategies",
    "training.loss": "losses",
    "score": "scores",
}


def load(stage: str, item: str = "") -> Params:
    """The parameters that ``dvc.yaml`` declares for a stage, nulls replaced by their defaults.

    Parameters
    ----------
    stage : str
        Name of the stage in ``dvc.yaml``.
    item : str
        For a ``foreach`` stage the item it runs for.

    Raises
    ------
    UserError
        If any value in ``params.yaml`` is wrong, declared or not.
    """
    values = read_yaml(PARAMS_FILE)
    params = validate(values, read_yaml(CHOICES_FILE))
    stages = read_yaml(PIPELINE_FILE)["stages"]
    definition = stages[stage].get("do", stages[stage])
    declared = _declared_keys(definition.get("params", []), values, item)
    hidden = {key for key, line in _default_lines(values).items() if _get(values, key) is None and line not in declared}
    return _restrict(params, declared - hidden)


def validate(values: Any, choices: Mapping[str, Any]) -> Params:
    """Check all parameters, each alone and against the others.

    Parameters
    ----------
    values : object
        The parsed ``params.yaml``.
    choices : mapping
        The parsed ``stages/choices.yaml``.

    Returns
    -------
    Params
        The same, nulls replaced by the defaults of the chosen lines.

    Raises
    ------
    UserError
        Names the first parameter that is wrong, its value, and what is allowed.
    """
    if not isinstance(values, dict):
        raise UserError(f"{PARAMS_FILE}: found {_show(values)}, allowed is a mapping of parameters")
    _check_values(PARAMS_FILE, values)
    _check_choices(choices)
    _check_names(PARAMS_FILE, values, choices)
    _check_targets(values, choices)
    _check_options(values, choices)
    resolved = _resolve(values, choices)
    params = _check_values(CHOICES_FILE, resolved)
    _check_names(CHOICES_FILE, resolved, choices)
    _check_together(params, choices)
    return params


def read_yaml(path: Path) -> Any:
    """Parse a YAML file: plain data, no tags, no aliases, ``1e-3`` a number as in YAML 1.2.

    Raises
    ------
    UserError
        If the file is missing, larger than a person would write it, or not such YAML.
    """
    try:
        return yaml.load(_read_text(path), Loader=_PlainLoader)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; run from the folder that holds it") from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error or type(error).__name__}") from None
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:
        raise UserError(f"{path}: not plain YAML: {' '.join(str(error).split())[:LINE_LENGTH]}") from None


def _read_text(path: Path) -> str:
    path.stat()  # raises what says why it is missing
    if not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path}: cannot be read: not a file")
    with path.open("rb") as file:
        content = file.read(FILE_BYTES + 1)
    if len(content) > FILE_BYTES:
        raise UserError(f"{path}: {path.stat().st_size} bytes, allowed are at most {FILE_BYTES}")
    return content.decode("utf-8")


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which can blow a small file up, without tags, and without a key given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, "tags are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        times = Counter(str(key.value) for key, _ in node.value)
        key, most = max(times.items(), key=itemgetter(1), default=("", 0))
        if most > 1:
            raise yaml.constructor.ConstructorError(None, None, f"key {_show(key)} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


# PyYAML follows YAML 1.1, where 1e-3 is text; DVC writes and reads YAML 1.2, where it is a number.
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def _check_values(path: Path, values: Mapping[str, Any]) -> Params:
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    # A misspelt key is unknown under one name and missing under the other: the former says more.
    unknown = ("extra_forbidden", "invalid_key")
    first = min(error.errors(), key=lambda each: each["type"] not in unknown)
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] in unknown:
        owner = _section_of(first["loc"])
        return f"unknown parameter {_show(key)}, allowed are {', '.join(owner.model_fields)}"
    if first["type"] == "missing":
        return f"parameter {key!r} is missing, add it (null is the default where there is one)"
    allowed = first["msg"].removeprefix("Input should be ").replace("valid ", "").replace("a integer", "an integer")
    return f"{key} is {_show(first['input'])}, allowed is: {allowed}"


def _section_of(location: tuple[Any, ...]) -> type[BaseModel]:
    section: type[BaseModel] = Params
    for name in location[:-1]:
        section = section.model_fields[name].annotation  # type: ignore[assignment]
    return section


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python prints no integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def _check_choices(choices: Any) -> None:
    """Check what a person may have added to stages/choices.yaml: tables of lines, each with its keys."""
    tables = set(_NAMES.values())
    if not isinstance(choices, dict) or not tables <= {name for name in choices if isinstance(choices[name], dict)}:
        raise UserError(f"{CHOICES_FILE}: found {_show(choices)}, allowed are the tables {', '.join(sorted(tables))}")
    for table, keys in _LINE_KEYS.items():
        for name, line in choices[table].items():
            optional = _OPTIONAL_LINE_KEYS.get(table, set())
            if not isinstance(line, dict) or not keys <= set(line) <= keys | optional:
                allowed = f"{sorted(keys)}" + (f", and may be {sorted(optional)}" if optional else "")
                raise UserError(f"{CHOICES_FILE}: {table}.{name} is {_show(line)}, allowed are the keys {allowed}")
            for key in keys & set(_LINE_VALUES):
                allowed, is_allowed = _LINE_VALUES[key]
                if not is_allowed(line[key]):
                    raise UserError(
                        f"{CHOICES_FILE}: {table}.{name}.{key} is {_show(line[key])}, allowed is: {allowed}"
                    )


def _check_names(path: Path, values: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    for key, table in _NAMES.items():
        name = _get(values, key)
        if name is not None and name not in choices[table]:
            raise UserError(f"{path}: {key} is {_show(name)}, allowed are: {', '.join(map(str, choices[table]))}")


def _check_targets(values: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Check that network, loss and score are for what the data set holds."""
    data = _get(values, "dataset.name")
    target = choices["datasets"][data]["target"]
    for key in ("network.name", "training.loss", "score"):
        table, name = choices[_NAMES[key]], _get(values, key)
        if name is not None and table[name]["target"] != target:
            allowed = [other for other, line in table.items() if line["target"] == target]
            raise UserError(
                f"{PARAMS_FILE}: {key} is {name!r}, allowed for the {target} of data set {data} are: "
                f"{', '.join(allowed)}"
            )


def _check_options(values: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Check that no option is given that the network does not have."""
    name = _get(values, "network.name")
    for key, value in values["network"].items():
        if key in _OPTIONS and value is not None and key not in choices["networks"][name]:
            raise UserError(
                f"{PARAMS_FILE}: network.{key} is {_show(value)}, allowed is null: network {name} has no such option"
            )


def _check_together(params: Params, choices: Mapping[str, Any]) -> None:
    best = choices["scores"][params.score]["best"]
    if params.precision >= best:
        raise UserError(
            f"{PARAMS_FILE}: precision is {params.precision}, "
            f"allowed is 0 < precision < {best} for score {params.score}"
        )
    data = params.dataset
    assert data.image_size is not None  # resolved
    multiple = choices["networks"][params.network.name]["size_multiple"]
    if data.image_size % multiple:
        raise UserError(
            f"{PARAMS_FILE}: dataset.image_size is {data.image_size}, "
            f"allowed is a multiple of {multiple} for network {params.network.name}"
        )
    _check_source(data, choices["datasets"][data.name]["pairs"])
    if params.network.path != NOTHING and params.network.name != "file":
        raise UserError(
            f"{PARAMS_FILE}: network.path is {_show(params.network.path)}, "
            f"allowed is {NOTHING}: network {params.network.name} comes from no file"
        )
    if params.select.start_from != NOTHING and choices["strategies"][params.select.strategy]["goal"] != "learn":
        raise UserError(
            f"{PARAMS_FILE}: select.start_from is {_show(params.select.start_from)}, allowed is {NOTHING} "
            f"for strategy {params.select.strategy}, which trains a fresh network"
        )
    if data.train_count is not None and params.seed_training.count > data.train_count:
        raise UserError(
            f"{PARAMS_FILE}: seed_training.count is {params.seed_training.count}, "
            f"allowed is at most dataset.train_count = {data.train_count}"
        )


def _check_source(data: DatasetParams, pairs: str) -> None:
    """Check what only some sources of pairs have a use for."""
    if pairs == "drawn":
        assert data.image_size is not None  # resolved
        _check_radii(data.image_size, data)
        if data.path != NOTHING:
            raise UserError(
                f"{PARAMS_FILE}: dataset.path is {_show(data.path)}, "
                f"allowed is {NOTHING}: the pairs of {data.name} are drawn"
            )
    if pairs == "files":
        _check_files(data)
        return
    for key in _FILE_KEYS:
        if getattr(data, key) is not None:
            raise UserError(
                f"{PARAMS_FILE}: dataset.{key} is {_show(getattr(data, key))}, "
                f"allowed is null: data set {data.name} has no such option"
            )


def _check_files(data: DatasetParams) -> None:
    """Check how the files of a folder are chosen, cut and split."""
    assert data.image_size is not None  # resolved
    if data.path == NOTHING:
        raise UserError(f"{PARAMS_FILE}: dataset.path is {_show(data.path)}, allowed is the folder of the files")
    if data.overlap >= data.image_size:
        raise UserError(
            f"{PARAMS_FILE}: dataset.overlap is {data.overlap}, "
            f"allowed is less than dataset.image_size = {data.image_size}"
        )
    values = data.mask_values
    if values is not None and not (values and all(0 <= value < 2**16 for value in values)):
        raise UserError(
            f"{PARAMS_FILE}: dataset.mask_values is {_show(values)}, allowed is null or values from 0 to 65535"
        )
    for key, groups in (("test_pattern", None), ("group_pattern", 1)):
        pattern = getattr(data, key)
        if pattern is None:
            continue
        try:
            found = re.compile(pattern).groups
        except re.error as error:
            raise UserError(f"{PARAMS_FILE}: dataset.{key} is {_show(pattern)}: {error}") from None
        if groups is not None and found != groups:
            raise UserError(
                f"{PARAMS_FILE}: dataset.{key} is {_show(pattern)}, allowed is a regular expression with one group"
            )


def _check_radii(image_size: int, data: DatasetParams) -> None:
    if data.radius_max < data.radius_min:
        raise UserError(
            f"{PARAMS_FILE}: dataset.radius_max is {data.radius_max}, "
            f"allowed is dataset.radius_min = {data.radius_min} or more"
        )
    if image_size <= 2 * data.radius_max:
        raise UserError(
            f"{PARAMS_FILE}: dataset.image_size is {image_size}, "
            f"allowed is more than twice dataset.radius_max = {data.radius_max}"
        )


def _resolve(values: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """Replace nulls by the defaults of the chosen lines."""
    resolved = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for key, line in _default_lines(values).items():
        *sections, name = key.split(".")
        target = resolved[sections[0]] if sections else resolved
        if target[name] is None:
            target[name] = _get(choices, line).get(name)
    return resolved


def _default_lines(values: Mapping[str, Any]) -> dict[str, str]:
    """The line of stages/choices.yaml that each key takes its default from."""
    return {key: f"{table}.{_get(values, chooser)}" for key, (table, chooser) in _DEFAULTS.items()}


def _declared_keys(entries: list[Any], values: Mapping[str, Any], item: str) -> set[str]:
    """Parameter names as ``dvc.yaml`` lists them, of params.yaml and of other files alike, templates filled in."""

    def fill(text: str) -> str:
        return re.sub(r"\$\{([^}]*)\}", lambda match: item if match[1] == "item" else str(_get(values, match[1])), text)

    keys: set[str] = set()
    for entry in entries:
        if isinstance(entry, dict):
            for names in entry.values():
                keys.update(fill(name) for name in names)
        else:
            keys.add(fill(entry))
    sections = [key for key in keys if isinstance(values.get(key), dict)]
    return keys | {f"{section}.{name}" for section in sections for name in values[section]}


def _restrict(params: Params, declared: set[str]) -> Params:
    kept: dict[str, Any] = {}
    for name, value in params:
        if isinstance(value, Section):
            kept[name] = value.model_construct(**{key: each for key, each in value if f"{name}.{key}" in declared})
        elif name in declared:
            kept[name] = value
    return Params.model_construct(**kept)


def _get(values: Mapping[str, Any], dotted: str) -> Any:
    found: Any = values
    for name in dotted.split("."):
        found = found[name]
    return found
