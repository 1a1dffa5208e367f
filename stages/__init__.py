"""Traincore: the stages of the pipeline, and the rooms they are built from."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # of prctl(2)


def end_with_parent(with_signal: signal.Signals) -> None:
    """Have this process get a signal when its parent ends, however that ends; on Linux alone."""
    parent = os.getppid()
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, with_signal.value, 0, 0, 0)
    if os.getppid() != parent:  # it ended in between
        os.kill(os.getpid(), with_signal)


if "DVC_STAGE" in os.environ:  # before anything that takes time: nobody would wait for the outputs of an orphan
    end_with_parent(signal.SIGTERM)
