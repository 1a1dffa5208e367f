"""Run the benchmarks, all or those named, and print a table: `python -m tests.benchmarks [NAME …]`."""

import sys
from collections.abc import Callable

from tests.benchmarks import generation, memory, policy, selection, steps

BENCHMARKS: dict[str, Callable[[], list[str]]] = {
    "generation": generation.measure,
    "steps": steps.measure,
    "selection": selection.measure,
    "policy": policy.measure,
    "memory": memory.measure,
}


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"benchmark is {unknown[0]!r}, allowed are {', '.join(BENCHMARKS)}")
    rows = [row for name in names or BENCHMARKS for row in BENCHMARKS[name]()]
    print("\n| what | plain | ours | ratio |\n|---|---|---|---|")
    print("\n".join(rows))


main(sys.argv[1:])
