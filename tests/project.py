"""A small copy of the project in a repository of its own, for tests that run the real thing."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stages.params import NOTHING, DatasetParams, NetworkParams

ROOT = Path(__file__).parent.parent
STAGES = ["generate@train", "generate@test", "audit", "train_seed", "select", "evaluate", "report"]

# Parameters that mean nothing to a data set that is drawn, or to one that comes from files.
OF_FILES = [
    "path", "images", "masks", "mask_values", "tile", "overlap", "fit", "test_share", "split_seed", "test_pattern",
    "group_pattern", "strict",
]  # fmt: skip
OF_DRAWN = ["{item}_seed", "radius_min", "radius_max", "interference", "{item}_interference"]

# Small enough for seconds, hard enough that some pairs fail and some pass.
SMALL = {
    "precision": 0.3,
    "dataset": {"image_size": 32, "train_count": 40, "test_count": 12, "radius_min": 4, "radius_max": 8},
    "network": {"base_filters": 4},
    "training": {"learning_rate": 0.01},
    "seed_training": {"count": 4, "batch_size": 4},
    "select": {"batch_size": 8, "max_epochs": 4},
}

# A low bar and nothing to mistake for an ellipse: so easy that a certificate is within reach.
CERTIFIED = [
    "--set-param=select.passes=until_certified",
    "--set-param=select.max_epochs=20",
    "--set-param=tolerance=0.3",
    "--set-param=dataset.interference=none",
]


def network_options(name: str, **options: Any) -> NetworkParams:
    """Options of a network: its own defaults but for those given."""
    line = yaml.safe_load((ROOT / "stages/choices.yaml").read_text())["networks"][name]
    own = {key: line.get(key) for key in NetworkParams.model_fields} | {"path": NOTHING}
    return NetworkParams(**{**own, "name": name, **options})


def dataset_options(name: str, **options: Any) -> DatasetParams:
    """Parameters of a data set as they stand in params.yaml, nulls replaced, but for those given."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())["dataset"]
    line = yaml.safe_load((ROOT / "stages/choices.yaml").read_text())["datasets"][name]
    own = {key: line.get(key, value) for key, value in values.items() if value is None}
    return DatasetParams(**{**values, **own, "name": name, **options})


def make_small_project(folder: Path, changes: Mapping[str, Any] = SMALL) -> Path:
    """A git and DVC repository in ``folder`` with the project's files as they are and small parameters."""
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore", "plots.html"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    for name in ("data", "models", "metrics"):
        (folder / name).mkdir()
        shutil.copy(ROOT / name / ".gitignore", folder / name / ".gitignore")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for key, value in changes.items():
        params[key] = {**params[key], **value} if isinstance(value, dict) else value
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for command in (
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["git", "config", "user.name", "Traincore tests"],
        ["git", "config", "user.email", "tests@example.org"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message=A small project"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def environment(**variables: str) -> dict[str, str]:
    """The environment of a command of the project, with some variables more."""
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**inherited, "PATH": path, **variables}


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the project's environment; the result holds what it printed."""
    return subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, check=False
    )


def succeed(folder: Path, *command: str, **variables: str) -> str:
    """Run a command that has to end with 0; return what it printed."""
    result = run(folder, *command, **variables)
    assert result.returncode == 0, f"{' '.join(command)}:\n{result.stdout}\n{result.stderr}"
    return result.stdout


def restore(folder: Path) -> None:
    """Put back what the last commit of a project holds, parameters and results."""
    succeed(folder, "git", "checkout", "--quiet", "--force", ".")
    succeed(folder, "dvc", "checkout", "--force", "--quiet")


def metrics(folder: Path, name: str) -> dict[str, Any]:
    """What a stage wrote to metrics/{name}.json."""
    values: dict[str, Any] = json.loads((folder / "metrics" / f"{name}.json").read_text())
    return values


def core_of(folder: Path) -> list[dict[str, str]]:
    """The lines of data/core.csv."""
    with (folder / "data/core.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def stages_run(output: str) -> list[str]:
    """The stages that ran, by what `dvc repro` or `dvc exp run` printed."""
    return re.findall(r"^Running stage '(.+)':", output, re.MULTILINE)


def check_declarations(folder: Path, stage: str) -> None:
    """Check that a stage uses exactly the code and the parameters that dvc.yaml declares for it; this runs it."""
    name, _, item = stage.partition("@")
    tracer = str(ROOT / "tests" / "trace_stage.py")
    used = json.loads(succeed(folder, "python", tracer, name, *filter(None, [item])).splitlines()[-1])
    values = yaml.safe_load((folder / "params.yaml").read_text())
    pipeline = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    definition = pipeline[name].get("do", pipeline[name])

    def fill(text: str) -> str:
        for key in ("dataset.name", "network.name", "select.strategy"):
            section, leaf = key.split(".")
            text = text.replace(f"${{{key}}}", values[section][leaf])
        return text.replace("${item}", item)

    assert sorted(fill(path) for path in definition["deps"] if path.startswith("stages/")) == used["code"]
    declared = set()
    for entry in definition["params"]:
        if isinstance(entry, str):
            key = fill(entry)
            below = values.get(key)
            declared |= {f"{key}.{leaf}" for leaf in below} if isinstance(below, dict) else {key}
    line = yaml.safe_load((folder / "stages/choices.yaml").read_text())["networks"][values["network"]["name"]]
    optional = {f"network.{option}" for option in values["network"] if option != "name" and option not in line}
    meaningless = OF_DRAWN if values["dataset"]["name"] == "folder" else OF_FILES
    unused = {f"dataset.{option.format(item=item)}" for option in meaningless} | optional
    if stage == "report":  # which tells them all
        unused = set()
    assert sorted(declared - unused) == used["params"]
