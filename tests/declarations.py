"""Whether dvc.yaml declares for a stage the code and the parameters that the stage uses."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from stages.pipeline.params.sections import NOTHING
from tests.imports import closure, holds_code
from tests.project import ROOT, environment

# Parameters that mean nothing to a data set that is drawn, or to one that comes from files.
OF_FILES = [
    "path", "images", "masks", "mask_values", "class_colors", "ignore_value", "mask_threshold", "value_range", "tile",
    "overlap", "fit", "test_share", "split_seed", "test_pattern", "group_pattern", "strict",
]  # fmt: skip
OF_CLASSES = ["class_colors", "ignore_value"]  # in files
OF_DRAWN = ["{item}_seed", "radius_min", "radius_max", "interference", "{item}_interference"]

KINDS = ("imported", "validated", "by_name", "opened")


def recorder(records: Path) -> dict[str, str]:
    """Variables under which the `python` that DVC starts records in a folder what each stage uses."""
    program = records / "bin/python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/trace_stage.py" "{records}" "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{environment()['PATH']}"}


def check_declarations(project: Path, records: Path, stage: str) -> None:
    """Check that each code file that a stage used is covered, each declared path used, and the parameters the same."""
    used = json.loads((records / f"{stage}.json").read_text())
    name, _, item = stage.partition("@")
    values = yaml.safe_load((project / "params.yaml").read_text())
    definition = yaml.safe_load((project / "dvc.yaml").read_text())["stages"][name]
    definition = definition.get("do", definition)

    def fill(text: str) -> str:
        return re.sub(r"\$\{([^}]*)\}", lambda match: item if match[1] == "item" else _get(values, match[1]), text)

    paths = {Path(filled) for path in definition["deps"] if (filled := fill(path)).startswith("stages/")}
    paths = {path for path in paths if not path.is_relative_to(NOTHING)}
    files = _code(project, Path(f"stages/{name}.py"), {kind: set(map(Path, used[kind])) for kind in KINDS})
    assert {file for file in files if not any(file.is_relative_to(path) for path in paths)} == set(), "not declared"
    assert {path for path in paths if not any(file.is_relative_to(path) for file in files)} == set(), "not used"
    keys = {fill(entry) for entry in definition["params"] if isinstance(entry, str)}
    declared = {leaf for leaf in leaves(values) if any(f"{leaf}.".startswith(f"{key}.") for key in keys)}
    assert set(used["parameters"]) - declared == set(), "not declared"
    unused = declared - set(used["parameters"]) - _without_meaning(stage, project, values)
    assert unused == set(), f"not used: {unused}"


def leaves(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The dotted keys of values that are no sections."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def _code(project: Path, stage: Path, used: Mapping[str, set[Path]]) -> set[Path]:
    """The files that a stage used, without those that were imported for the check of all parameters alone."""
    needed = closure({stage, *used["by_name"]}, project)
    files = {stage} | (used["imported"] - used["validated"]) | (used["validated"] & needed)
    return {file for file in files if holds_code(project / file)} | used["opened"]


def _without_meaning(stage: str, project: Path, values: Mapping[str, Any]) -> set[str]:
    """Parameters that a stage declares since they mean something for another data set, network or strategy."""
    if stage == "report":  # which tells them all, as one
        return set(leaves(values))
    line = yaml.safe_load((project / "stages/choices.yaml").read_text())["networks"][values["network"]["name"]]
    of_data = [*OF_DRAWN, *OF_CLASSES] if values["dataset"]["name"] == "folder" else OF_FILES
    data = {f"dataset.{option.format(item=stage.partition('@')[2])}" for option in of_data}
    network = {f"network.{option}" for option in values["network"] if option not in line}
    budget = {f"select.budget.{option}" for option in values["select"]["budget"]}
    of_strategy = {
        "pick_to_learn": budget,
        "first_failure": budget | {"select.first_failure.max_passes"},  # of which the small project has one alone
    }
    return data | network | of_strategy.get(values["select"]["strategy"], set())


def _get(values: Mapping[str, Any], dotted: str) -> str:
    return str(reduce(getitem, dotted.split("."), values))
