"""Locks: one process at a time, whatever becomes of their files."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from stages.pipeline import locks

HOLD = """
import sys
from pathlib import Path
from stages.pipeline import locks
with locks.take(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(path: Path) -> "subprocess.Popen[str]":
    """A process that holds a lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_is_held_by_one_process_that_it_names_and_is_free_once_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holding(path) as process:
        assert locks.take(path) is None
        assert locks.holder(path) == str(process.pid)
        process.kill()
    lock = locks.take(path)
    assert lock is not None
    with lock:
        assert locks.holder(path) == str(os.getpid())


def test_a_lock_whose_file_was_removed_between_opening_and_locking_is_not_taken_for_the_one_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    lockf = fcntl.lockf
    others: list[subprocess.Popen[str]] = []

    def late(file: IO[bytes], how: int) -> None:
        if not others:
            path.unlink()
            others.append(holding(path))
        lockf(file, how)

    monkeypatch.setattr(fcntl, "lockf", late)
    assert locks.take(path) is None
    with others[0]:
        others[0].kill()


def test_targets_of_one_stem_have_locks_of_their_own(tmp_path: Path) -> None:
    with locks.alone(tmp_path / "masks.a"), locks.alone(tmp_path / "masks.b"):
        pass


def test_a_lock_that_is_gone_has_an_unknown_holder(tmp_path: Path) -> None:
    assert locks.holder(tmp_path / "lock") == "unknown"
