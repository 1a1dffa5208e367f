"""Checkpoints: where a stage stands, so that the same command goes on from there after it was killed.

They lie in ``.traincore/checkpoints/STAGE/KEY`` of the repository, also those of an experiment that DVC runs in a
copy of it under ``.dvc/tmp``: outside of a stage's outputs, which DVC deletes before it runs. KEY stands for all
that a result depends on, so that a checkpoint is found by the same run alone. It is gone once the next stage starts.
"""

import hashlib
import importlib.metadata
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from stages import hardware, locks
from stages.errors import UserError
from stages.params import Params

FOLDER = Path(".traincore/checkpoints")
STATE = "state.npz"
WORKSPACE = "workspace"
DONE = "done"
LOCK = "lock"
SECONDS = "TRAINCORE_CHECKPOINT_SECONDS"
DEFAULT_SECONDS = 60.0
KEPT = 8  # of experiments in copies of the repository, which may still come back for them
_PLAIN = "plain"


class State(NamedTuple):
    """Where a stage stands: JSON values, and arrays by name."""

    plain: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Clock:
    """Time that a stage took: since it was made, and before an interruption."""

    def __init__(self) -> None:
        self._before = 0.0
        self._started = time.perf_counter()

    def go_on(self, found: State | None) -> None:
        """Count in what the saved state counted."""
        if found:
            self._before = float(found.plain["seconds"])

    def seconds(self) -> float:
        """Seconds so far, to a tenth; a saved state holds them as ``seconds``."""
        return round(self._before + time.perf_counter() - self._started, 1)


class Checkpoint:
    """The checkpoint of one run of a stage.

    Parameters
    ----------
    folder : Path
        Its own; whatever else of the run shall outlive it can be put there, too.
    stage : str
        For messages.

    Attributes
    ----------
    found : State, optional
        What an interrupted run saved last.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder = folder
        self.found = _read(folder / STATE, stage)
        self._interval = hardware.seconds_from_environment(SECONDS, DEFAULT_SECONDS)
        self._saved = time.monotonic()

    def save_if_due(self, state: Callable[[], State]) -> None:
        """Save the state once ``TRAINCORE_CHECKPOINT_SECONDS`` have gone by since the last time."""
        if time.monotonic() - self._saved >= self._interval:
            self.save(state())
            self._saved = time.monotonic()

    def save(self, state: State) -> None:
        """Replace what was saved, whole or not at all.

        Raises
        ------
        UserError
            If it cannot be written, on a full disk for one; what was saved before is still there.
        """
        plain = np.frombuffer(json.dumps(state.plain).encode(), np.uint8)
        path = self.folder / STATE
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                np.savez(file, **{_PLAIN: plain}, **state.arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            needed = sum(array.nbytes for array in state.arrays.values())
            raise hardware.cannot_write(error, needed, path) from None


@contextmanager
def checkpoint(
    stage: str, params: Params, inputs: Mapping[str, str], machine: Mapping[str, Any], keep: bool = True
) -> Iterator[Checkpoint]:
    """The checkpoint of this run, found by all that its result depends on.

    Parameters
    ----------
    stage : str
        Its name, with its item if it has one.
    params : Params
        Those that the stage declares.
    inputs : mapping of str to str
        A digest of the content of each file or set that it reads.
    machine : mapping
        What else decides on the last bits of a result: threads, processor, precision policy.
    keep : bool
        Whether to keep it until the next stage starts: only then has DVC put the outputs into its cache, which takes
        long for large ones, and DVC may be killed on the way.

    Yields
    ------
    Checkpoint
        Two runs of the same at once, of two experiments, get one each. What earlier runs of this folder left with
        other parameters, data or code is removed.
    """
    repository, workspace = _repository()
    parent = repository / FOLDER / stage.replace("@", "-")
    identity = {
        "parameters": params.model_dump(mode="json", warnings=False),
        "inputs": dict(inputs),
        "machine": dict(machine),
        "code": _digest_of_code(),
        "packages": {name: importlib.metadata.version(name) for name in ("numpy", "keras", "tensorflow", "zarr")},
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with locks.wait(parent.parent / LOCK):
            _remove_stale(parent, key, workspace)
            folder, lock = _take_folder(parent, key)
            (folder / WORKSPACE).write_text(workspace, encoding="utf-8")
            (folder / DONE).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename or parent}: cannot be written: {error.strerror or error}") from None
    with lock:
        try:
            yield Checkpoint(folder, stage)
            (folder / DONE).touch()
        finally:
            with locks.wait(parent.parent / LOCK):
                finished = (folder / DONE).exists()
                if not _is_used(folder) or (finished and not keep):
                    shutil.rmtree(folder, ignore_errors=True)


def digest(path: Path) -> str:
    """A digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _repository() -> tuple[Path, str]:
    """The way from here to the repository that checkpoints belong to, and the way back."""
    here = Path.cwd().resolve()
    copies = (parent for parent in here.parents if parent.parts[-3:] == (".dvc", "tmp", "exps"))
    repository = next((copy.parents[2] for copy in copies), here)
    return Path(os.path.relpath(repository, here)), str(here.relative_to(repository))


def _digest_of_code() -> str:
    """A digest of the project's files that this process has loaded: those that the stage uses."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] in ("stages", "__main__")]
    files = sorted({file for module in modules if (file := getattr(module, "__file__", None))})
    return hashlib.sha256("".join(digest(Path(file)) for file in files).encode()).hexdigest()


def _is_used(folder: Path) -> bool:
    """Whether a run left anything to go on from."""
    return any(path.name not in (LOCK, WORKSPACE, DONE) for path in folder.iterdir())


def _take_folder(parent: Path, key: str) -> tuple[Path, IO[bytes]]:
    """The first folder of this key that no other process uses; one that holds something before others."""
    there = sorted((folder for folder in parent.glob(f"{key}*") if _is_used(folder)), key=lambda folder: folder.name)
    new = (parent / f"{key}-{number}" for number in itertools.count())
    for folder in itertools.chain(there, new):
        folder.mkdir(exist_ok=True)
        if lock := locks.take(folder / LOCK):
            return folder, lock
    raise AssertionError("unreachable")


def _remove_stale(parent: Path, key: str, workspace: str) -> None:
    """Remove what earlier runs left: of this stage with other keys, of other stages that are done.

    What a run in another workspace left may be come back for; of those, the newest are kept.
    """
    for folder in parent.parent.glob("*/*/"):
        if folder.parent != parent and (folder / DONE).exists() and _workspace(folder) == workspace:
            _remove_if_free(folder)
    others = [folder for folder in parent.glob("*/") if folder.name.split("-")[0] != key]
    for folder in [folder for folder in others if _workspace(folder) == workspace]:
        _remove_if_free(folder)
    elsewhere = [folder for folder in others if folder.exists() and _workspace(folder) != workspace]
    for folder in sorted(elsewhere, key=lambda folder: folder.stat().st_mtime)[:-KEPT]:
        _remove_if_free(folder)


def _workspace(folder: Path) -> str:
    marker = folder / WORKSPACE
    return marker.read_text(encoding="utf-8") if marker.is_file() else ""


def _remove_if_free(folder: Path) -> None:
    if lock := locks.take(folder / LOCK):
        with lock:
            shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path, stage: str) -> State | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:  # a ZIP file: each array has a checksum that is verified
            arrays = {name: file[name] for name in file.files}
        return State(json.loads(arrays.pop(_PLAIN).tobytes()), arrays)
    except Exception as error:  # NumPy and zipfile raise many kinds for damaged files
        print(f"{stage}: {path}: damaged, starting anew: {' '.join(str(error).split())[:100]}", file=sys.stderr)
        return None
