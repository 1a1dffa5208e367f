"""How every stage starts and ends: one line for what a person has to change, outputs whole or not at all."""

import csv
import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages import end_with_parent, hardware, locks
from stages.errors import UserError


def run(stage: str, main: Callable[[], None]) -> None:
    """Run a stage; end the process with 1 and one line if a person has to change something, 130 if interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        main()
    except UserError as error:
        sys.exit(f"{stage}: {error}{_what_dvc_removed()}")
    except OSError as error:
        sys.exit(f"{stage}: {error.filename or 'a file'}: {error.strerror or error}{_what_dvc_removed()}")
    except MemoryError:
        sys.exit(f"{stage}: not enough memory; smaller batches or images need less{_what_dvc_removed()}")
    except KeyboardInterrupt:
        print(f"{stage}: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


@contextmanager
def processes(count: int, start: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with the stage.

    Parameters
    ----------
    count : int
        How many.
    start : callable
        What each does first, with the arguments that follow.

    Raises
    ------
    UserError
        If one of them is killed.
    """
    try:
        with ProcessPoolExecutor(count, initializer=_start, initargs=(start, arguments)) as workers:
            yield workers
    except BrokenProcessPool:
        raise UserError(
            f"a worker process was killed, most often for lack of memory: {count} were at work, "
            "environment variable TRAINCORE_WORKERS=1 needs least"
        ) from None


def _start(start: Callable[..., None], arguments: Sequence[Any]) -> None:
    """Have a worker process leave interrupts to the stage, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(signal.SIGKILL)
    start(*arguments)


def _interrupt(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a second one would disturb the clean-up
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def whole(*targets: Path) -> Iterator[list[Path]]:
    """Paths to write to; they are moved to their targets once all of them are written.

    Parameters
    ----------
    *targets : Path
        Files or folders; what is there is replaced.

    Yields
    ------
    list of Path
        Where to write, beside each target. If writing fails, nothing of it is left.

    Raises
    ------
    UserError
        If another process is writing them.
    """
    partials = [target.with_name(f"{target.stem}.partial{target.suffix}") for target in targets]
    for partial in partials:
        partial.parent.mkdir(parents=True, exist_ok=True)
    with _alone(targets[0]):
        yield from _whole(targets, partials)


def _whole(targets: Sequence[Path], partials: list[Path]) -> Iterator[list[Path]]:
    try:
        for partial in partials:
            _remove(partial)
        yield partials
        for partial in partials:
            partial.stat()  # one that was not written fails before any target is replaced
        for partial, target in zip(partials, targets, strict=True):
            _remove(target)
            partial.replace(target)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise hardware.cannot_write(error, None, *targets) from None
    finally:
        for partial in partials:
            _remove(partial)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold a lock that says who writes a target; DVC starts a stage anew while an orphan of it may still be at work."""
    path = target.with_name(f"{target.stem}.partial.lock")
    lock = locks.take(path)
    if lock is None:
        process = locks.holder(path)
        raise UserError(f"{target}: process {process} is writing it: `kill {process}`, then run the same command again")
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """Write a table; what is absent is left empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *lines])


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write metrics: a number a key, readable by a person and by DVC."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _what_dvc_removed() -> str:
    """DVC deletes the outputs of a stage before it starts it."""
    if "DVC_STAGE" not in os.environ:
        return ""
    return "; outputs of an earlier run, which DVC removed: `dvc checkout`, and `git checkout metrics` if committed"
