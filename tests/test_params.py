"""Parameters: what is refused and how, what nulls stand for, what a stage gets to see."""

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stages.pipeline.errors import UserError
from stages.pipeline.params import load
from stages.pipeline.params.sections import NOTHING, Section, UndeclaredParameterError
from stages.pipeline.params.validation import validate
from stages.pipeline.params.yaml import read_yaml
from tests.conftest import Change
from tests.project import ROOT

VALUES: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
CHOICES: dict[str, Any] = yaml.safe_load((ROOT / "stages/choices.yaml").read_text())


def keys_of(values: dict[str, Any], above: str = "") -> list[str]:
    """Dotted keys of sections and of parameters."""
    below = [keys_of(value, f"{above}{name}.") for name, value in values.items() if isinstance(value, dict)]
    return [f"{above}{name}" for name in values] + [key for keys in below for key in keys]


KEYS = keys_of(VALUES)
INFINITE = float("inf")


def replaced(values: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(values)
    *sections, name = dotted.split(".")
    target = result
    for section in sections:
        target = target[section]
    target[name] = value
    return result


def read(section: Section, dotted: str) -> Any:
    """A parameter as a stage reads it."""
    return reduce(getattr, dotted.split("."), section)


def refusal_if_any(call: Callable[[], Any]) -> str | None:
    """The line of the UserError that a call raises."""
    try:
        call()
    except UserError as error:
        lines = str(error).splitlines()
    else:
        return None
    assert len(lines) == 1
    return lines[0]


def refusal(values: Any) -> str:
    """The line with which values are refused."""
    line = refusal_if_any(lambda: validate(values, CHOICES))
    assert line is not None
    return line


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("precision", 1.5, "0 < precision < 1.1"),
        ("precision", 1.1, "0 < precision < 1.1"),
        ("precision", -1, "greater than 0"),
        ("precision", 0, "greater than 0"),
        ("precision", "abc", "number"),
        ("precision", "0.85", "number"),
        ("precision", float("nan"), "finite number"),
        ("precision", INFINITE, "finite number"),
        ("precision", None, "number"),
        ("precision", True, "number"),
        ("precision", [0.85], "number"),
        ("tolerance", 1.01, "less than or equal to 1"),
        ("tolerance", 0.0, "greater than 0"),
        ("score", "accuracy", "tiered_iou, iou, dice"),
        ("score", 1, "tiered_iou"),
        ("dataset", 5, "dictionary"),
        ("dataset", None, "dictionary"),
        ("dataset.name", "squares", "ellipses"),
        ("dataset.name", None, "string"),
        ("dataset.image_size", 120, "a multiple of 16"),
        ("dataset.image_size", 40, "a multiple of 16"),
        ("dataset.image_size", 32, "more than twice dataset.radius_max = 20"),
        ("dataset.image_size", 0, "greater than or equal to 1"),
        ("dataset.image_size", -128, "greater than or equal to 1"),
        ("dataset.image_size", 128.0, "integer"),
        ("dataset.image_size", 10**6, "less than or equal to"),
        ("dataset.train_count", 0, "greater than or equal to 1"),
        ("dataset.train_count", True, "integer"),
        ("dataset.train_count", "10000", "integer"),
        ("dataset.train_count", 1e4, "integer"),
        ("dataset.test_count", 0, "greater than or equal to 1"),
        ("dataset.train_seed", -1, "greater than or equal to 0"),
        ("dataset.test_seed", 2**63, "less than or equal to"),
        ("dataset.radius_min", 1, "greater than or equal to 2"),
        ("dataset.radius_min", 21, "dataset.radius_min = 21"),
        ("dataset.radius_max", 64, "more than twice dataset.radius_max = 64"),
        ("dataset.interference", "square", "'rectangle', 'triangle' or 'none'"),
        ("dataset.interference", None, "'rectangle', 'triangle' or 'none'"),
        ("dataset.dtype", "float64", "'uint8' or 'float32'"),
        ("network.name", "nosuch_unet", "residual_unet"),
        ("network.base_filters", 0, "greater than or equal to 1"),
        ("network.dropout", 1, "less than 1"),
        ("network.dropout", -0.1, "greater than or equal to 0"),
        ("training.learning_rate", 0, "greater than 0"),
        ("training.loss", "mse", "bce_dice, binary_crossentropy, dice"),
        ("training.seed", "one", "integer"),
        ("training.precision_policy", "float16", "'auto', 'float32' or 'mixed_bfloat16'"),
        ("seed_training.count", 0, "greater than or equal to 1"),
        ("seed_training.count", 10001, "at most dataset.train_count = 10000"),
        ("seed_training.batch_size", 0, "greater than or equal to 1"),
        ("seed_training.max_epochs", 0, "greater than or equal to 1"),
        ("select.strategy", "best", "first_failure"),
        ("dataset.path", "/tmp", "stages/none: the pairs of ellipses are drawn"),
        ("dataset.images", "*.png", "null: data set ellipses has no such option"),
        ("dataset.fit", "cut", "'tile', 'resize' or 'pad'"),
        ("dataset.overlap", -1, "greater than or equal to 0"),
        ("dataset.test_share", 1.5, "less than or equal to 1"),
        ("network.name", "cnn", "for the masks of data set ellipses are: residual_unet, bn_unet, plain_unet, file"),
        ("network.path", "mine.keras", "stages/none: network residual_unet comes from no file"),
        ("network.head_filters", 2, "null: network residual_unet has no such option"),
        ("network.initializer", "ones", "'glorot_uniform', 'glorot_normal', 'he_uniform' or 'he_normal'"),
        ("network.momentum", 1, "less than 1"),
        ("training.loss", "categorical_crossentropy", "bce_dice, binary_crossentropy, dice"),
        ("score", "hit_rate", "tiered_iou, iou, dice"),
        ("seed_training.goal", "maybe", "'learn', 'try' or 'skip'"),
        ("select.budget.count", 0, "greater than or equal to 1"),
        ("select.budget.steps", 0, "greater than or equal to 1"),
        ("select.batch_size", 0, "greater than or equal to 1"),
        ("select.first_failure.scan_size", 0, "greater than or equal to 1"),
        ("select.order_seed", False, "integer"),
        ("select.first_failure.max_epochs", -5, "greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_itself_and_what_is_allowed(key: str, value: Any, allowed: str) -> None:
    line = refusal(replaced(VALUES, key, value))
    assert line.startswith("params.yaml: ")
    assert allowed in line.split("allowed")[1]
    if "radius" not in key:  # those are told beside the value that they do not fit to
        assert f"{key} is {value!r}," in line


def test_networks_for_masks_are_refused_for_labels() -> None:
    line = refusal(replaced(VALUES, "dataset.name", "fashion_mnist"))
    assert "network.name is 'residual_unet', allowed for the labels of data set fashion_mnist are: dense, cnn" in line
    validate(replaced(replaced(VALUES, "dataset.name", "fashion_mnist"), "network.name", "cnn"), CHOICES)


FOLDER = replaced(replaced(VALUES, "dataset.name", "folder"), "dataset.path", "my_images")


@pytest.mark.parametrize("values", [[-(2**31) - 1], [1, 2**32], []])
def test_labels_of_a_mask_are_those_that_an_image_can_hold(values: list[int]) -> None:
    assert f"dataset.mask_values is {values}, allowed is null or integers of up to 32 bits" in refusal(
        replaced(FOLDER, "dataset.mask_values", values)
    )
    validate(replaced(FOLDER, "dataset.mask_values", [-1, 65535]), CHOICES)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("dataset.path", NOTHING, "allowed is the folder of the files"),
        ("dataset.overlap", 128, "less than dataset.image_size = 128"),
        ("dataset.test_pattern", "(", "unterminated subpattern"),
        ("dataset.group_pattern", "a", "allowed is a regular expression with one group"),
    ],
)
def test_how_files_are_taken_is_checked_before_any_is_read(key: str, value: Any, allowed: str) -> None:
    line = refusal(replaced(replaced(FOLDER, "dataset.image_size", 128), key, value))
    assert line.startswith(f"params.yaml: {key} is {value!r}")
    assert allowed in line


@pytest.mark.parametrize("score", ["iou", "dice"])
def test_precision_stays_below_the_best_that_the_score_can_be(score: str) -> None:
    values = replaced(VALUES, "score", score)
    validate(replaced(values, "precision", 0.999), CHOICES)
    assert f"precision is 1.0, allowed is 0 < precision < 1.0 for score {score}" in refusal(
        replaced(values, "precision", 1.0)
    )


FILES = {"dataset.name": "folder", "dataset.path": "somewhere"}


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    return reduce(lambda values, change: replaced(values, *change), changes.items(), VALUES)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"dataset.classes": []}, "dataset.classes is [], allowed is all, or 1 to 254 different names"),
        ({"dataset.classes": ["a", "a"]}, "allowed is all, or 1 to 254 different names"),
        ({"dataset.classes": "some"}, "dataset.classes is 'some', allowed is: 'all' or a list"),
        ({"dataset.classes": ["a"], "dataset.mask_values": [1, 2]}, "a different one for each of 1 dataset.classes"),
        (
            {"dataset.classes": ["a"], "dataset.class_colors": ["red"]},
            "dataset.class_colors is 'red', allowed is a colour",
        ),
        (
            {"dataset.classes": ["a"], "dataset.ignore_value": "red"},
            "dataset.ignore_value is 'red', allowed is a colour",
        ),
        (
            {"dataset.classes": ["a"], "dataset.class_colors": ["#ff0000"], "dataset.mask_values": [1]},
            "null where dataset.mask_values tells the classes apart",
        ),
        ({"dataset.classes": ["a", "background"]}, "background in the first place alone"),
        (
            {"dataset.classes": ["a"], "dataset.mask_values": [255], "dataset.ignore_value": 255},
            "none of dataset.mask_values",
        ),
        (
            {"dataset.classes": ["a", "b"], "dataset.class_colors": ["#FF0000", "#ff0000"]},
            "a different one for each of 2 dataset.classes",
        ),
        ({"dataset.classes": "all", "dataset.mask_values": [1]}, "names, one for each value or colour"),
        ({"dataset.classes": "all", "dataset.mask_threshold": 5.0}, "null with dataset.classes"),
        ({"dataset.class_colors": ["#ff0000"]}, "null without dataset.classes"),
        ({"dataset.ignore_value": 255}, "null without dataset.classes"),
        (
            {"dataset.classes": "all", "training.loss": "bce_dice"},
            "allowed for the classes of data set folder are: dice, cr",
        ),
        ({"score": "worst_class_iou"}, "allowed for the masks of data set folder are: tiered_iou, iou, dice"),
        (
            {"dataset.classes": "all", "network.name": "cnn"},
            "allowed for the classes of data set folder are: residual_unet",
        ),
        ({"dataset.name": "airbus", "dataset.classes": "all"}, "null: data set airbus has no such option"),
    ],
    ids=str,
)
def test_classes_that_do_not_fit_together_are_refused(changes: dict[str, Any], allowed: str) -> None:
    assert allowed in refusal(changed({**FILES, **changes}))


@pytest.mark.parametrize(
    "changes", [{"dataset.classes": ["ellipse"]}, {"dataset.classes": "all", "dataset.interference": "none"}]
)
def test_drawn_pairs_have_the_classes_that_are_drawn(changes: dict[str, Any]) -> None:
    assert "dataset.classes is" in refusal(changed(changes))


def test_nulls_of_a_network_follow_the_kind_of_masks() -> None:
    params = validate(changed({"dataset.classes": "all", "network.name": "bn_unet"}), CHOICES)
    assert (params.training.loss, params.score, params.network.head_filters) == (
        "categorical_crossentropy",
        "tiered_iou",
        0,
    )
    params = validate(changed({"network.name": "bn_unet"}), CHOICES)
    assert (params.training.loss, params.score, params.network.head_filters) == ("binary_crossentropy", "tiered_iou", 2)


def test_precision_of_the_tiered_iou_may_pass_one() -> None:
    validate(replaced(VALUES, "precision", 1.09), CHOICES)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("precison", "precision, tolerance, confidence, score, score_background, dataset"),
        ("select.first_failure.passs", "scan_size, max_epochs, passes"),
        ("select.batchsize", "strategy, batch_size, order_seed"),
        ("dataset.size", "image_size"),
        ("network.Dropout", "dropout"),
    ],
)
def test_an_unknown_key_is_refused_with_the_keys_of_its_section(key: str, allowed: str) -> None:
    line = refusal(replaced(VALUES, key, 10))
    assert f"unknown parameter {key!r}" in line
    assert allowed in line.split("allowed are")[1]


def test_a_key_that_is_not_text_is_refused() -> None:
    assert "7" in refusal({**VALUES, 7: 1})


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(key: str) -> None:
    values = copy.deepcopy(VALUES)
    *sections, name = key.split(".")
    del reduce(getitem, sections, values)[name]
    assert f"parameter {key!r} is missing" in refusal(values)


@pytest.mark.parametrize("values", [None, [], [1, 2], "precision", 3, {}])
def test_what_is_no_mapping_of_parameters_is_refused(values: Any) -> None:
    assert refusal(values).startswith("params.yaml: ")


def test_a_long_value_is_shortened_in_the_line() -> None:
    assert len(refusal(replaced(VALUES, "precision", "x\n" * 10_000))) < 200


scalars = st.none() | st.booleans() | st.integers() | st.integers(10**308, 10**310) | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@given(st.sampled_from(KEYS), anything)
@example("dataset.radius_min", 21)
def test_whatever_stands_in_place_of_a_value_is_taken_or_refused_in_one_line(key: str, value: Any) -> None:
    line = refusal_if_any(lambda: validate(replaced(VALUES, key, value), CHOICES))
    assert line is None or key in line


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("precision: [0.85", "not plain YAML"),
        ("precision: 0.85: 0.9", "not plain YAML"),
        ("precision: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("precision: !mine 0.85\n", "could not determine a constructor"),
        ("precision: 0.85\nprecision: 0.9\n", 'duplicate key "precision"'),
        ("select: {batch_size: 1, batch_size: 2}\n", 'duplicate key "batch_size"'),
        ("a: 1\n---\nb: 2\n", "not plain YAML"),
        ("precision: 2020-13-45\n", "month must be in 1..12"),
        ("[" * 2000, "recursion"),
        ("\x00", "not plain YAML"),
    ],
)
def test_text_that_is_not_plain_yaml_is_refused(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert named in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "# nothing\n", "- precision\n- 0.85\n", "0.85", "~"])
def test_a_file_that_holds_no_mapping_stops_a_stage(workspace: Path, text: str) -> None:
    (workspace / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"^params\.yaml: found .*, allowed is a mapping of parameters$"):
        load("evaluate")


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: missing"):
        read_yaml(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match=r"params\.yaml: .*'utf-8' codec"):
        read_yaml(tmp_path / "params.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path)


@given(st.text(st.sampled_from("ab01:.-_!&*[]{}'\"#|>?,+eE \n"), max_size=30))
def test_any_text_is_parsed_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text)
    line = refusal_if_any(lambda: read_yaml(path))
    assert line is None or line.startswith(str(path))


@pytest.mark.parametrize(
    ("text", "number"), [("1e-3", 0.001), ("1E5", 1e5), ("-2.e+2", -200.0), (".5", 0.5), ("1.5e-3", 0.0015), ("7", 7)]
)
def test_a_number_with_an_exponent_is_a_number(tmp_path: Path, text: str, number: float) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"rate: {text}\nname: '{text}'\n")
    assert read_yaml(path) == {"rate": number, "name": text}


def test_a_learning_rate_may_be_written_with_an_exponent(workspace: Path) -> None:
    path = workspace / "params.yaml"
    path.write_text(path.read_text().replace("learning_rate: null", "learning_rate: 2e-3"))
    assert load("train_seed").training.learning_rate == 0.002


def test_a_whole_number_is_as_good_as_a_fraction(workspace: Path, change: Change) -> None:
    change(**{"training.learning_rate": 1, "dataset.radius_min": 10})
    rate = load("train_seed").training.learning_rate
    radius = load("generate", "train").dataset.radius_min
    assert [(type(number), number) for number in (rate, radius)] == [(float, 1.0), (float, 10.0)]


def test_nulls_stand_for_the_values_of_the_chosen_data_set_and_network(workspace: Path) -> None:
    assert load("generate", "train").dataset.image_size == 128
    seed = load("train_seed")
    assert (seed.network.base_filters, seed.network.dropout) == (16, 0.5)
    assert (seed.training.loss, seed.score) == ("bce_dice", "tiered_iou")
    assert load("select").bar == pytest.approx(0.8075)


def test_a_given_value_goes_before_the_one_that_null_stands_for(change: Change) -> None:
    change(**{"network.dropout": 0.0, "training.loss": "dice", "score": "iou", "dataset.image_size": 64})
    seed = load("train_seed")
    assert (seed.network.dropout, seed.training.loss, seed.score) == (0.0, "dice", "iou")
    assert load("generate", "test").dataset.image_size == 64


def test_null_of_order_seed_stays_null(workspace: Path) -> None:
    assert load("select").select.order_seed is None


def test_nulls_follow_the_network_that_is_chosen(workspace: Path, change: Change) -> None:
    path = workspace / "stages/choices.yaml"
    choices = yaml.safe_load(path.read_text())
    choices["networks"]["other"] = {
        "target": "masks", "base_filters": 5, "dropout": 0.1, "loss": "dice", "score": "iou", "size_multiple": 10,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(choices))
    change(**{"network.name": "other", "dataset.image_size": 70})
    seed = load("train_seed")
    assert (seed.network.base_filters, seed.network.dropout) == (5, 0.1)
    assert (seed.training.loss, seed.score) == ("dice", "iou")


def test_a_stage_of_a_foreach_sees_the_keys_of_its_item(workspace: Path) -> None:
    train, test = load("generate", "train").dataset, load("generate", "test").dataset
    assert (train.train_count, train.train_seed) == (10_000, 1)
    assert (test.test_count, test.test_seed) == (10_000, 2)
    for section, key in ((train, "test_count"), (train, "test_seed"), (test, "train_count"), (test, "train_seed")):
        with pytest.raises(UndeclaredParameterError, match=key):
            getattr(section, key)


@pytest.mark.parametrize(
    ("stage", "undeclared"),
    [
        ("generate", ["precision", "score", "network.name", "select.order_seed", "training.seed"]),
        ("train_seed", ["tolerance", "dataset.name", "dataset.train_count", "select.batch_size", "select.strategy"]),
        ("select", ["network.name", "network.dropout", "training.learning_rate", "seed_training.batch_size"]),
        ("evaluate", ["dataset.name", "training.loss", "select.strategy", "seed_training.count"]),
    ],
)
def test_a_parameter_that_the_stage_did_not_declare_cannot_be_read(
    workspace: Path, stage: str, undeclared: list[str]
) -> None:
    for key in undeclared:
        with pytest.raises(UndeclaredParameterError, match=repr(key.rsplit(".", maxsplit=1)[-1])):
            read(load(stage, "train"), key)


@pytest.mark.parametrize(
    ("declared", "key"),
    [(["score"], "score"), (["network"], "network.dropout"), (["training.loss"], "training.loss")],
)
def test_a_null_cannot_be_read_without_the_line_that_gives_its_value(
    workspace: Path, declared: list[str], key: str
) -> None:
    pipeline = {"stages": {"mine": {"params": declared}}}
    (workspace / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    with pytest.raises(UndeclaredParameterError):
        read(load("mine"), key)
    line = {"stages/choices.yaml": ["networks.${network.name}"]}
    pipeline["stages"]["mine"]["params"] = [*declared, line]  # type: ignore[list-item]
    (workspace / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    default = CHOICES["networks"]["residual_unet"][key.split(".")[-1]]
    assert read(load("mine"), key) == (default["masks"] if isinstance(default, dict) else default)


def test_a_given_value_can_be_read_without_the_line_for_null(workspace: Path, change: Change) -> None:
    change(score="dice")
    (workspace / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"mine": {"params": ["score"]}}}))
    assert load("mine").score == "dice"


def test_a_bad_value_stops_a_stage_that_does_not_use_it(change: Change) -> None:
    change(**{"select.first_failure.scan_size": 0})
    with pytest.raises(UserError, match=r"select\.first_failure\.scan_size is 0"):
        load("generate", "train")


@pytest.mark.parametrize("name", ["nothing", "__class__"])
def test_a_name_that_is_no_parameter_is_an_ordinary_attribute(workspace: Path, name: str) -> None:
    assert hasattr(load("select"), name) == (name == "__class__")


def test_a_stage_with_a_bad_parameter_ends_with_1_and_one_line_and_writes_nothing(
    workspace: Path, change: Change
) -> None:
    shutil.copytree(ROOT / "stages", workspace / "stages", dirs_exist_ok=True)
    change(precision=1.5)
    before = sorted(workspace.rglob("*"))
    result = subprocess.run(
        [sys.executable, "-B", "-m", "stages.generate", "train"],
        env={key: value for key, value in os.environ.items() if not key.startswith("DVC")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        "generate: params.yaml: precision is 1.5, allowed is 0 < precision < 1.1 for score tiered_iou\n"
    )
    assert sorted(workspace.rglob("*")) == before


def test_an_earlier_core_is_gone_on_from_by_the_walk_alone(change: Change) -> None:
    change(**{"select.start_from": "kept"})
    assert load("select").select.start_from == "kept"
    change(**{"select.strategy": "random"})
    with pytest.raises(UserError, match=r"select\.start_from is 'kept', allowed is stages/none for strategy random"):
        load("select")


def test_a_network_that_began_fresh_is_not_retrained(change: Change) -> None:
    change(**{"select.retrain": 100})
    assert load("select").select.retrain == 100
    change(**{"select.strategy": "random"})
    with pytest.raises(UserError, match=r"select\.retrain is 100, allowed is 0 for strategy random"):
        load("select")


def test_suspects_are_set_aside_by_the_default_strategy_alone_and_not_by_hits(change: Change) -> None:
    change(**{"select.on_suspect": "set_aside"})
    params = load("select")
    assert params.suspect_below == pytest.approx(params.bar / 2)
    change(**{"select.strategy": "first_failure"})
    with pytest.raises(
        UserError, match=r"select\.on_suspect is 'set_aside', allowed is keep, but for strategy pick_to_"
    ):
        load("select")
    change(**{"select.strategy": "pick_to_learn", "dataset.name": "fashion_mnist", "network.name": "cnn"})
    with pytest.raises(UserError, match=r"allowed is keep, .* any score but hit_rate"):
        load("select")


def test_chosen_pairs_are_judged_where_masks_come_from_files(change: Change) -> None:
    assert load("judge").judge.folds == 0
    change(**{"dataset.name": "folder", "dataset.path": "somewhere"})
    assert load("judge").judge.folds == 2
    change(**{"judge.folds": 1})
    with pytest.raises(UserError, match=r"judge\.folds is 1, allowed is 0 for none, or 2 and more"):
        load("judge")


@pytest.mark.parametrize("marks", [(b"\xef\xbb\xbf", b"\n"), (b"", b"\r\n")], ids=["byte order mark", "CRLF"])
def test_a_file_from_another_editor_is_the_same_file(workspace: Path, marks: tuple[bytes, bytes]) -> None:
    path, expected = workspace / "params.yaml", load("select")
    path.write_bytes(marks[0] + path.read_bytes().replace(b"\n", marks[1]))
    assert load("select") == expected


@given(st.binary(max_size=40), st.floats(0, 1), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example writes the file anew
def test_bytes_put_anywhere_into_the_file_are_taken_or_refused_in_one_line(
    workspace: Path, inserted: bytes, place: float, cut: bool
) -> None:
    content = (ROOT / "params.yaml").read_bytes()
    at = int(place * len(content))
    (workspace / "params.yaml").write_bytes(content[:at] + inserted + (b"" if cut else content[at:]))
    line = refusal_if_any(lambda: load("evaluate"))
    assert line is None or line.startswith("params.yaml: ")


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("networks", None, "networks is None"),
        ("networks.residual_unet", 5, "networks.residual_unet is 5"),
        ("networks.residual_unet", {}, "networks.residual_unet.target"),
        ("networks.residual_unet.base_filters", "16", "network.base_filters is '16', allowed is: an integer"),
        ("networks.residual_unet.loss", "mse", "training.loss is 'mse', allowed are: bce_dice"),
        ("networks.residual_unet.score", "mse", "score is 'mse', allowed are: "),
        ("networks.residual_unet.size_multiple", 0, "size_multiple is 0: Input should be greater than 0"),
        ("networks.residual_unet.size_multiple", True, "size_multiple is True: Input should be a valid integer"),
        ("scores.tiered_iou.best", "1", "scores.tiered_iou.best is '1'"),
        (
            "datasets.ellipses.image_size",
            10**6,
            "dataset.image_size is 1000000, allowed is: less than or equal to 4096",
        ),
    ],
)
def test_a_wrong_line_of_the_choices_is_refused(workspace: Path, key: str, value: object, named: str) -> None:
    (workspace / "stages/choices.yaml").write_text(yaml.safe_dump(replaced(CHOICES, key, value)))
    line = refusal_if_any(lambda: load("select"))
    assert line is not None
    assert line.startswith("stages/choices.yaml: ")
    assert named in line


def test_images_are_no_larger_than_float32_can_count() -> None:
    largest = replaced(VALUES, "dataset.image_size", 4096)
    validate(largest, CHOICES)
    assert 4096**2 == np.float32(4096**2) == 2**24
    assert "less than or equal to 4096" in refusal(replaced(largest, "dataset.image_size", 4112))


def test_a_strategy_sees_its_own_options_and_the_budget_alone(workspace: Path, change: Change) -> None:
    assert load("select").select.options.failures == 1
    change(**{"select.strategy": "el2n"})
    select: Any = load("select").select
    assert (select.options.rating_epochs, select.budget.count) == (5, 300)
    with pytest.raises(UndeclaredParameterError, match="scan_size"):
        _ = select.first_failure.scan_size  # a section of another strategy
