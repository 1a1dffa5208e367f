"""Fixtures that several files share."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project import ROOT, STAGES, make_small_project, restore, stages_run, succeed

Change = Callable[..., None]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the project's own params.yaml, dvc.yaml and stages/choices.yaml, and nothing else."""
    (tmp_path / "stages").mkdir()
    for name in ("params.yaml", "dvc.yaml", "stages/choices.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def change(workspace: Path) -> Change:
    """Sets dotted keys in the workspace's params.yaml; a key that is not there is added."""
    return lambda **changes: change_parameters(workspace / "params.yaml", changes)


def change_parameters(path: Path, changes: Mapping[str, Any]) -> None:
    """Set dotted keys in a params.yaml."""
    values = yaml.safe_load(path.read_text())
    for dotted, value in changes.items():
        *sections, name = dotted.split(".")
        reduce(getitem, sections, values)[name] = value
    path.write_text(yaml.safe_dump(values, sort_keys=False))


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project after its first `dvc repro`, committed."""
    project = make_small_project(tmp_path_factory.mktemp("project"))
    assert stages_run(succeed(project, "dvc", "repro")) == STAGES
    succeed(project, "git", "add", "--all")
    succeed(project, "git", "commit", "--quiet", "--message=First run")
    return project


@pytest.fixture
def project(reproduced: Path) -> Iterator[Path]:
    """The reproduced project; whatever a test does to it is undone."""
    yield reproduced
    restore(reproduced)
