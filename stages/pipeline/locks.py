"""Locks on files: held by one process at a time, and free once it ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stages.pipeline.errors import UserError


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Hold a lock beside a target that says who writes it: where one run was killed, a part of it may still be at work.

    Raises
    ------
    UserError
        If another process holds it.
    """
    path = target.with_name(f"{target.name}.partial.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = take(path)
    if lock is None:
        process = holder(path)
        raise UserError(f"{target}: process {process} is writing it: `kill {process}`, then run the same command again")
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def take(path: Path) -> IO[bytes] | None:
    """A lock that names this process; None if another one holds it.

    Whoever holds it may remove its file, before it closes it.
    """
    while True:
        file = path.open("ab")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.close()
            return None
        if os.fstat(file.fileno()).st_nlink:
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            return file
        file.close()  # it was removed between opening and locking: another file of this name is the lock by now


def holder(path: Path) -> str:
    """The number of the process that holds a lock, as far as it can be told."""
    try:
        return path.read_text(encoding="ascii") or "unknown"
    except FileNotFoundError:
        return "unknown"
