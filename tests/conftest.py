"""Fixtures that several files share, and the environment of all tests."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml
from filelock import FileLock
from hypothesis import settings

from tests.declarations import recorder
from tests.project import ROOT, STAGES, copied, make_small_project, stages_run, succeed
from tests.store import BreakingProxy, forget, s3_server, use

# Tests run in as many processes as there are cores: neither they nor the commands that they start take several.
for name in (
    "TRAINCORE_THREADS",
    "TRAINCORE_WORKERS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
):
    os.environ[name] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

# Few examples for `make test`, more for `make test-all`, which asks for them by --hypothesis-profile.
settings.register_profile("fast", max_examples=15, deadline=None)
settings.register_profile("all", max_examples=50, deadline=None)
settings.load_profile("fast")

Change = Callable[..., None]


@pytest.fixture(autouse=True)
def made_in_float32() -> None:
    """Networks compute in float32 unless a test asks otherwise, whatever the last one asked for."""
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the project's own params.yaml, dvc.yaml and stages/choices.yaml, and nothing else."""
    monkeypatch.chdir(make_workspace(tmp_path))
    return tmp_path


def make_workspace(folder: Path) -> Path:
    """Copy the files there that parameters are read from."""
    (folder / "stages").mkdir()
    for name in ("params.yaml", "dvc.yaml", "stages/choices.yaml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


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
    """A small project after its first `dvc repro`, committed: for tests that read it alone.

    It is made once for all processes of pytest. What each stage used on the way lies beside it, in ``records``.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    project, done = folder / "reproduced", folder / "reproduced-done"
    with FileLock(folder / "reproduced-lock"):
        if not done.exists():
            make_small_project(project)
            output = succeed(project, "dvc", "repro", **recorder(folder / "records"))
            assert stages_run(output) == STAGES
            succeed(project, "git", "add", "--all")
            succeed(project, "git", "commit", "--quiet", "--message=First run")
            done.touch()
    return project


@pytest.fixture
def project(reproduced: Path, tmp_path: Path) -> Path:
    """A copy of the reproduced project, for tests that change it."""
    return copied(reproduced, tmp_path / "project")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a store."""
    with s3_server(tmp_path_factory.mktemp("store") / "log") as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a bucket for this test, which is yet to be made."""
    use(server, monkeypatch)
    return f"bucket-{abs(hash(request.node.name))}"


@pytest.fixture
def breaking(server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[BreakingProxy]:
    """A way to the store that breaks, in use."""
    proxy = BreakingProxy(server)
    use(proxy.address, monkeypatch)
    yield proxy
    proxy.close()
    forget()


@pytest.fixture
def memory() -> Iterator[Any]:
    """A store in the memory of this process: its client, without files."""
    store = fsspec.filesystem("memory")
    forget()
    yield store
    store.rm("/", recursive=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one process make the small project while the others are at tests that need none."""
    items.sort(key=lambda item: "reproduced" not in getattr(item, "fixturenames", []))
