"""Locks on files: held by one process at a time, and free once it ends, however it ends."""

import fcntl
import os
from pathlib import Path
from typing import IO


def wait(path: Path) -> IO[bytes]:
    """A lock, once no other process holds it; closing it frees it."""
    file = path.open("ab")
    fcntl.lockf(file, fcntl.LOCK_EX)
    return file


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
