"""Timing in turns, so that a machine whose speed drifts slows both sides alike."""

import time
from collections.abc import Callable, Mapping

import numpy as np


def time_in_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each call over some rounds, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values[1:])) for name, values in seconds.items()}


def row(what: str, plain: float, ours: float, unit: str = "s") -> str:
    """A line of the table: two figures, less being better, and how many times less ours is."""
    return f"| {what} | {plain:.4g} {unit} | {ours:.4g} {unit} | {plain / ours:.2f}× |"
