"""Processes: each ends with the one that started it."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from threading import Thread
from typing import Any

from stages.pipeline.errors import UserError

PR_SET_PDEATHSIG = 1  # of prctl(2)
POLL_SECONDS = 1.0


def end_with_parent(with_signal: signal.Signals) -> None:
    """Have this process get a signal when its parent ends, however that ends: at once on Linux, else in a second."""
    parent = os.getppid()
    if not _signalled_by_system(with_signal):
        Thread(target=_watch, args=(parent, with_signal), daemon=True).start()
    elif os.getppid() != parent:  # it ended in between
        os.kill(os.getpid(), with_signal)


def _signalled_by_system(with_signal: signal.Signals) -> bool:
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, with_signal.value, 0, 0, 0)
    except (ImportError, OSError, AttributeError):  # a Python without it, no library, not Linux
        return False
    return True


def _watch(parent: int, with_signal: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), with_signal)


@contextmanager
def worker_processes(count: int, start: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with the stage.

    Parameters
    ----------
    count : int
        How many.
    start : callable
        Called in each before anything else, with the arguments that follow.

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
    """Have this worker process leave interrupts to the stage, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(signal.SIGKILL)
    start(*arguments)
