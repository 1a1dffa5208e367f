"""Checkpoints: where a stage stands, so that the same command goes on from there after it was killed.

They lie in ``.traincore/checkpoints/STAGE/KEY``: outside of a stage's outputs, which DVC deletes before it runs. KEY
stands for all that a result depends on, so that only the same run finds its checkpoint.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.pipeline.disk import cannot_write
from stages.pipeline.errors import UserError
from stages.pipeline.files import digest
from stages.pipeline.locks import alone
from stages.pipeline.machine import seconds_from_environment
from stages.pipeline.params.sections import Params
from stages.pipeline.versions import of_packages

FOLDER = Path(".traincore/checkpoints")
STATE = "state.npz"
DONE = "done"
SECONDS = "TRAINCORE_CHECKPOINT_SECONDS"
DEFAULT_SECONDS = 60.0
_PLAIN = "plain"
_STARTED = time.perf_counter()  # of the stage, which imports this before it does anything


class State(NamedTuple):
    """Where a stage stands: JSON values, and arrays by name."""

    plain: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Checkpoint:
    """The checkpoint of one run of a stage, and its clock.

    Parameters
    ----------
    folder : Path
        Its own; a stage may put other files there that shall outlive the run.
    stage : str
        Name of the stage, for messages.

    Attributes
    ----------
    found : State, optional
        The last state that an interrupted run saved.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder = folder
        self.found, self._seconds_before = _read(folder / STATE, stage)
        self._interval = seconds_from_environment(SECONDS, DEFAULT_SECONDS)
        self._saved = time.monotonic()

    def seconds(self) -> float:
        """Seconds that the stage took, to a tenth: those before an interruption, too."""
        return round(self._seconds_before + time.perf_counter() - _STARTED, 1)

    def save_if_due(self, state: Callable[[], State]) -> None:
        """Save the state once ``TRAINCORE_CHECKPOINT_SECONDS`` have gone by since the last time."""
        if time.monotonic() - self._saved >= self._interval:
            self.save(state())
            self._saved = time.monotonic()

    def save(self, state: State) -> None:
        """Replace the saved state, whole or not at all.

        Raises
        ------
        UserError
            If it cannot be written, for example on a full disk; the state that was saved before is still there.
        """
        plain = np.frombuffer(json.dumps([state.plain, self.seconds()]).encode(), np.uint8)
        path = self.folder / STATE
        partial = path.with_suffix(".partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez(file, **{_PLAIN: plain}, **state.arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            needed = sum(array.nbytes for array in state.arrays.values())
            raise cannot_write(error, needed, path) from None


@contextmanager
def resumable(
    stage: str, params: Params, inputs: Mapping[str, str], machine: Mapping[str, Any], keep: bool = True
) -> Iterator[Checkpoint]:
    """The checkpoint of this run, found by all that its result depends on.

    Parameters
    ----------
    stage : str
        Its name, with its item if it has one.
    params : Params
        The parameters that the stage declares.
    inputs : mapping of str to str
        A digest of the content of each file or set that it reads.
    machine : mapping
        All else that decides on the last bits of a result: threads, processor, precision policy.
    keep : bool
        Whether to keep it until the next stage starts. Only then has DVC put the outputs into its cache: that takes
        long for large ones, and DVC may be killed meanwhile.

    Yields
    ------
    Checkpoint
        Checkpoints of this stage with another key, and those of other stages that are done, are removed before.

    Raises
    ------
    UserError
        If another process is running the stage.
    """
    of_stage = FOLDER / stage.replace("@", "-")
    folder = of_stage / _key(params, inputs, machine)
    with alone(of_stage):
        for other in set(of_stage.glob("*")) - {folder}:
            shutil.rmtree(other)
        (folder / DONE).unlink(missing_ok=True)
        for done in list(FOLDER.glob(f"*/*/{DONE}")):
            with suppress(UserError), alone(done.parents[1]):
                if done.exists():
                    shutil.rmtree(done.parent)
        yield Checkpoint(folder, stage)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.exists():
            (folder / DONE).touch()


def _key(params: Params, inputs: Mapping[str, str], machine: Mapping[str, Any]) -> str:
    """A name for all that a result depends on."""
    identity = {
        "parameters": params.model_dump(mode="json", warnings=False, serialize_as_any=True),
        "inputs": dict(inputs),
        "machine": dict(machine),
        "code": _digest_of_code(),
        "packages": of_packages(),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]


def _digest_of_code() -> str:
    """A digest of the project's files that this process has loaded: those that the stage uses."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] in ("stages", "__main__")]
    files = sorted({file for module in modules if (file := getattr(module, "__file__", None))})
    return hashlib.sha256("".join(digest(Path(file)) for file in files).encode()).hexdigest()


def _read(path: Path, stage: str) -> tuple[State | None, float]:
    """The saved state and its seconds, if there is one and it is whole."""
    if not path.exists():
        return None, 0.0
    try:
        with np.load(path, allow_pickle=False) as file:  # a ZIP file: each array has a checksum that is verified
            arrays = {name: file[name] for name in file.files}
        plain, seconds = json.loads(arrays.pop(_PLAIN).tobytes())
    except Exception as error:  # NumPy and zipfile raise many kinds for damaged files
        print(f"{stage}: {path}: damaged, starting anew: {' '.join(str(error).split())[:100]}", file=sys.stderr)
        return None, 0.0
    return State(plain, arrays), float(seconds)
