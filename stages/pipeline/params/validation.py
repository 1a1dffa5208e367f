"""Check all parameters, each alone and against the others."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, create_model

from stages.pipeline.errors import UserError
from stages.pipeline.params import choices as choices_file
from stages.pipeline.params.choices import DEFAULTS, NAMES, NETWORK_OPTIONS, Choices, get, resolve, target_of
from stages.pipeline.params.sections import MOST_CLASSES, NOTHING, DatasetParams, Params, SelectParams

FILE = Path("params.yaml")

COLOR = re.compile(r"#[0-9a-fA-F]{6}")

# Keys that mean nothing to pairs that do not come from files, and can be null.
_FILE_KEYS = (
    "images",
    "masks",
    "mask_values",
    "class_colors",
    "ignore_value",
    "mask_threshold",
    "test_pattern",
    "group_pattern",
)


def validate(values: Any, lines: Any) -> Params:
    """Check all parameters.

    Parameters
    ----------
    values : object
        The parsed ``params.yaml``.
    lines : object
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
        raise _refusal(None, values, "a mapping of parameters")
    choices = _check_choices(lines)
    _check_names(FILE, values, choices)
    _check_targets(values, choices)
    resolved, nulls = resolve(values, choices)
    model = model_of(tuple(choices.strategies))
    try:
        params = model.model_validate(resolved)
    except ValidationError as error:
        key, line = _explain(error, model)
        raise UserError(f"{choices_file.FILE if key in nulls else FILE}: {line}") from None
    _check_names(choices_file.FILE, resolved, choices)
    _check_targets(resolved, choices)
    _check_options(values, choices)
    _check_together(params, choices)
    return params


@cache
def model_of(strategies: tuple[str, ...]) -> type[Params]:
    """The model of ``params.yaml``, with a section for the options of each strategy, as its file defines them."""
    sections: Any = {name: (import_module(f"stages.strategies.{name}").Options, ...) for name in strategies}
    select = create_model("SelectParams", __base__=SelectParams, **sections)
    return create_model("Params", __base__=Params, select=(select, Field()))


def _refusal(key: str | None, value: Any, allowed: str) -> UserError:
    found = "found" if key is None else f"{key} is"
    return UserError(f"{FILE}: {found} {_show(value)}, allowed is {allowed}")


def _explain(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """The key that a line is about, and the line."""
    # A misspelt key is unknown under one name and missing under the other: the former says more. A null that was not
    # replaced says least, since the name that its default hangs on is wrong then.
    unknown = ("extra_forbidden", "invalid_key")
    # Of a value that can be of several kinds, the place ends in the kind.
    errors = [(".".join(str(part) for part in each["loc"] if "[" not in str(part)), each) for each in error.errors()]
    key, first = min(errors, key=lambda each: (each[0] in DEFAULTS, each[1]["type"] not in unknown))
    if first["type"] in unknown:
        for name in first["loc"][:-1]:
            model = model.model_fields[str(name)].annotation  # type: ignore[assignment]
        return key, f"unknown parameter {_show(key)}, allowed are {', '.join(model.model_fields)}"
    if first["type"] == "missing":
        return key, f"parameter {key!r} is missing, add it (null is the default where there is one)"
    said = (
        "a list, each of it " * (other != key) + each["msg"].removeprefix("Input should be ")
        for other, each in errors
        if f"{other}.".startswith(f"{key}.")
    )
    allowed = " or ".join(dict.fromkeys(said)).replace("valid ", "").replace("a integer", "an integer")
    return key, f"{key} is {_show(first['input'])}, allowed is: {allowed}"


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python prints no integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def _check_choices(lines: Any) -> Choices:
    try:
        return Choices.model_validate(lines)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{choices_file.FILE}: {key} is {_show(first['input'])}: {first['msg']}") from None


def _check_names(path: Path, values: Mapping[str, Any], choices: Choices) -> None:
    for key, table in NAMES.items():
        name, lines = get(values, key), getattr(choices, table)
        if name is not None and not (isinstance(name, str) and name in lines):
            raise UserError(f"{path}: {key} is {_show(name)}, allowed are: {', '.join(lines)}")


def _check_targets(values: Mapping[str, Any], choices: Choices) -> None:
    """Check that network, loss and score are for what the data set holds, as far as they are given."""
    data = get(values, "dataset.name")
    target = target_of(values, choices)
    if target is None:
        return
    if target not in choices.datasets[data].target:
        raise _refusal("dataset.classes", get(values, "dataset.classes"), f"null: data set {data} has no such option")
    for key in ("network.name", "training.loss", "score"):
        lines, name = getattr(choices, NAMES[key]), get(values, key)
        if name is not None and target not in lines[name].target:
            allowed = ", ".join(other for other, line in lines.items() if target in line.target)
            raise UserError(f"{FILE}: {key} is {name!r}, allowed for the {target} of data set {data} are: {allowed}")


def _check_options(values: Mapping[str, Any], choices: Choices) -> None:
    """Check that no option is given that the network does not have."""
    name = get(values, "network.name")
    for key in NETWORK_OPTIONS:
        value = get(values, f"network.{key}")
        if value is not None and key not in choices.networks[name].model_fields_set:
            raise _refusal(f"network.{key}", value, f"null: network {name} has no such option")


def _check_together(params: Params, choices: Choices) -> None:
    best = choices.scores[params.score].best
    if params.precision >= best:
        raise _refusal("precision", params.precision, f"0 < precision < {best} for score {params.score}")
    data, network, select = params.dataset, params.network, params.select
    if params.training.augmentation != "none" and choices.datasets[data.name].target == ["labels"]:
        raise _refusal("training.augmentation", params.training.augmentation, f"none for the labels of {data.name}")
    if params.score_background and data.classes is None:
        raise _refusal("score_background", True, "false without dataset.classes")
    multiple = choices.networks[network.name].size_multiple
    if data.image_size % multiple:
        raise _refusal("dataset.image_size", data.image_size, f"a multiple of {multiple} for network {network.name}")
    _check_source(data, choices.datasets[data.name].pairs)
    if network.path != NOTHING and network.name != "file":
        raise _refusal("network.path", network.path, f"{NOTHING}: network {network.name} comes from no file")
    if select.on_suspect != "keep" and (select.strategy != "pick_to_learn" or params.score == "hit_rate"):
        allowed = "keep, but for strategy pick_to_learn, and there with any score but hit_rate, which has no low ones"
        raise _refusal("select.on_suspect", select.on_suspect, allowed)
    if params.judge.folds == 1:
        raise _refusal("judge.folds", 1, "0 for none, or 2 and more")
    if choices.strategies[select.strategy].goal != "learn":
        reason = f"for strategy {select.strategy}, which trains a fresh network"
        if select.start_from != NOTHING:
            raise _refusal("select.start_from", select.start_from, f"{NOTHING} {reason}")
        if select.retrain:
            raise _refusal("select.retrain", select.retrain, f"0 {reason}")
    if data.train_count is not None and params.seed_training.count > data.train_count:
        allowed = f"at most dataset.train_count = {data.train_count}"
        raise _refusal("seed_training.count", params.seed_training.count, allowed)


def _check_source(data: DatasetParams, pairs: str) -> None:
    """Check the keys that only some sources of pairs have a use for."""
    if pairs == "drawn":
        _check_radii(data)
        if data.path != NOTHING:
            raise _refusal("dataset.path", data.path, f"{NOTHING}: the pairs of {data.name} are drawn")
        if data.classes is not None and (data.classes != "all" or "none" in _shapes_of(data)):
            allowed = "null, or with another shape beside the ellipse 'all'"
            raise _refusal("dataset.classes", data.classes, allowed)
    if pairs == "files":
        _check_files(data)
        return
    for key in _FILE_KEYS:
        if getattr(data, key) is not None:
            allowed = f"null: data set {data.name} has no such option"
            raise _refusal(f"dataset.{key}", getattr(data, key), allowed)


def _check_files(data: DatasetParams) -> None:
    """Check how the files of a folder are chosen, cut and split."""
    if data.path == NOTHING:
        raise _refusal("dataset.path", data.path, "the folder of the files")
    if data.overlap >= data.image_size:
        raise _refusal("dataset.overlap", data.overlap, f"less than dataset.image_size = {data.image_size}")
    values = data.mask_values
    ignored = data.ignore_value
    if isinstance(ignored, int) and not -(2**31) <= ignored < 2**32:
        raise _refusal("dataset.ignore_value", ignored, "null, a colour, or an integer of up to 32 bits")
    if values is not None and not (values and all(-(2**31) <= value < 2**32 for value in values)):
        raise _refusal("dataset.mask_values", values, "null or integers of up to 32 bits")
    _check_classes(data)
    if values is not None and data.mask_threshold is not None:
        raise _refusal(
            "dataset.mask_threshold", data.mask_threshold, "null where dataset.mask_values says what the mask is"
        )
    limits = data.value_range
    if not isinstance(limits, str) and not (len(limits) == 2 and limits[0] < limits[1]):
        raise _refusal("dataset.value_range", limits, "auto, dtype, or a range as [0, 4095]")
    for key, groups in (("test_pattern", None), ("group_pattern", 1)):
        pattern = getattr(data, key)
        if pattern is None:
            continue
        try:
            found = re.compile(pattern).groups
        except re.error as error:
            raise UserError(f"{FILE}: dataset.{key} is {_show(pattern)}: {error}") from None
        if groups is not None and found != groups:
            raise _refusal(f"dataset.{key}", pattern, "a regular expression with one group")


def _check_classes(data: DatasetParams) -> None:
    """Check the names of classes, and what stands for them in files."""
    if data.classes is None:
        for key in ("class_colors", "ignore_value"):
            if getattr(data, key) is not None:
                raise _refusal(f"dataset.{key}", getattr(data, key), "null without dataset.classes")
        return
    if data.mask_threshold is not None:
        raise _refusal("dataset.mask_threshold", data.mask_threshold, "null with dataset.classes")
    colors = data.class_colors
    for key, given in (("class_colors", colors or []), ("ignore_value", [data.ignore_value])):
        for color in given:
            if isinstance(color, str) and not COLOR.fullmatch(color):
                raise _refusal(f"dataset.{key}", color, "a colour as '#ff8000'")
    if colors is not None and data.mask_values is not None:
        raise _refusal("dataset.class_colors", colors, "null where dataset.mask_values tells the classes apart")
    if isinstance(data.classes, str):
        if data.mask_values is not None or colors is not None:
            raise _refusal("dataset.classes", data.classes, "names, one for each value or colour")
        return
    named = [each for each in data.classes if each != "background"]
    if not named or len(set(data.classes)) < len(data.classes) or len(named) > MOST_CLASSES:
        raise _refusal("dataset.classes", data.classes, f"all, or 1 to {MOST_CLASSES} different names")
    for each in named:
        if not each.strip() or not each.isprintable():
            raise _refusal("dataset.classes", each, "printable names")
    if "background" in data.classes[1:]:
        raise _refusal("dataset.classes", data.classes, "background in the first place alone")
    for key, told in (("mask_values", data.mask_values), ("class_colors", colors)):
        different = {str(each).lower() for each in told or []}
        if told is not None and not len(different) == len(told) == len(data.classes):
            raise _refusal(f"dataset.{key}", told, f"a different one for each of {len(data.classes)} dataset.classes")
        if str(data.ignore_value).lower() in different:
            raise _refusal("dataset.ignore_value", data.ignore_value, f"none of dataset.{key}")


def _shapes_of(data: DatasetParams) -> set[str]:
    """The shapes beside the ellipses, in the pool and in the test set."""
    return {data.train_interference or data.interference, data.test_interference or data.interference}


def _check_radii(data: DatasetParams) -> None:
    if data.radius_max < data.radius_min:
        raise _refusal("dataset.radius_max", data.radius_max, f"dataset.radius_min = {data.radius_min} or more")
    if data.image_size <= 2 * data.radius_max:
        allowed = f"more than twice dataset.radius_max = {data.radius_max}"
        raise _refusal("dataset.image_size", data.image_size, allowed)
