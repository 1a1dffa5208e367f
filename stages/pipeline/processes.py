"""Processes: each ends with the one that started it."""

import os
import signal
import time
from threading import Thread

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
