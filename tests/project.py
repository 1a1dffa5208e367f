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

from stages.pipeline.params.sections import NOTHING, DatasetParams, NetworkParams

ROOT = Path(__file__).parent.parent
STAGES = ["generate@train", "generate@test", "audit", "train_seed", "select", "judge", "evaluate", "report"]

# Small enough for seconds, hard enough that some pairs fail and some pass.
SMALL: dict[str, Any] = {
    "precision": 0.3,
    "dataset": {"image_size": 32, "train_count": 40, "test_count": 12, "radius_min": 4, "radius_max": 8},
    "network": {"name": "tiny"},
    "training": {"learning_rate": 0.01, "average": 0.5},
    "seed_training": {"count": 4, "batch_size": 4},
    "select": {
        "batch_size": 8,
        "first_failure": {"max_epochs": 4},
        "pick_to_learn": {"replay_size": 8, "max_steps": 4, "max_passes": 3},
    },
    "judge": {"folds": 0, "steps": 4},
}

# A low bar and nothing to mistake for an ellipse: so easy that a certificate is within reach of either strategy.
EASY = ["--set-param=tolerance=0.3", "--set-param=dataset.interference=none"]
CERTIFIED = {
    "pick_to_learn": [
        *EASY,
        "--set-param=select.pick_to_learn.max_steps=20",
        "--set-param=select.pick_to_learn.max_passes=20",
    ],
    "first_failure": [
        *EASY,
        "--set-param=select.strategy=first_failure",
        "--set-param=select.first_failure.passes=until_certified",
        "--set-param=select.first_failure.max_epochs=20",
    ],
}


def network_options(name: str, **options: Any) -> NetworkParams:
    """Options of a network: its own defaults but for those given."""
    line = yaml.safe_load((ROOT / "stages/choices.yaml").read_text())["networks"][name]
    own = {key: line.get(key) for key in NetworkParams.model_fields} | {"path": NOTHING}
    own = {key: value["masks"] if isinstance(value, dict) else value for key, value in own.items()}
    return NetworkParams(**{**own, "name": name, **options})


def dataset_options(name: str, **options: Any) -> DatasetParams:
    """Parameters of a data set as they stand in params.yaml, nulls replaced, but for those given."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())["dataset"]
    line = yaml.safe_load((ROOT / "stages/choices.yaml").read_text())["datasets"][name]
    own = {key: line.get(key, value) for key, value in values.items() if value is None}
    return DatasetParams(**{**values, **own, "name": name, **options})


def make_small_project(folder: Path, changes: Mapping[str, Any] = SMALL) -> Path:
    """A git and DVC repository in ``folder`` with the project's files, a tiny network more, and small parameters."""
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / "tests/tiny.py", folder / "stages/networks/tiny.py")
    add_choice(
        folder,
        "networks",
        "tiny: {target: [masks, classes], loss: {masks: bce_dice, classes: crossentropy_dice}, score: tiered_iou, "
        "size_multiple: 16, base_filters: 8}",
    )
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore", "plots.html"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    for name in ("data", "models", "metrics"):
        (folder / name).mkdir()
        shutil.copy(ROOT / name / ".gitignore", folder / name / ".gitignore")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump(merged(params, changes), sort_keys=False))
    for command in (
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["git", "config", "user.name", "Traincore tests"],
        ["git", "config", "user.email", "tests@example.org"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message=A small project"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def add_choice(project: Path, table: str, line: str) -> None:
    """Add a line to a table of a project's stages/choices.yaml."""
    choices = project / "stages/choices.yaml"
    choices.write_text(choices.read_text().replace(f"\n{table}:\n", f"\n{table}:\n  {line}\n"))


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values of which some are changed, section by section."""
    below = {key: merged(values[key], value) for key, value in changes.items() if isinstance(value, dict)}
    return {**values, **changes, **below}


def copied(project: Path, folder: Path) -> Path:
    """A copy of a project, which may be changed."""
    return Path(shutil.copytree(project, folder, symlinks=True, ignore=shutil.ignore_patterns("tmp")))


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


def stage_command(words: str) -> list[str]:
    """The command of a stage and its item, as ``generate train``."""
    name, *item = words.split()
    return [sys.executable, "-m", f"stages.{name}", *item]


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
