"""A benchmark in a process of its own: what one leaves in memory is not to count for the next.

The peak that Linux notes of a process includes that of the one that started it.
"""

from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context

HEADER = "| what | plain | ours | ratio |"


def measure_alone(name: str) -> list[str]:
    """The table of what ``tests.benchmarks.{name}.measure`` gives, measured in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure, name).result()


def _measure(name: str) -> list[str]:
    benchmark = import_module(f"tests.benchmarks.{name}")
    header: str = getattr(benchmark, "HEADER", HEADER)
    return [header, "|---" * (header.count("|") - 1) + "|", *benchmark.measure()]
