"""Run the benchmarks, those named or all but `policy`, and print a table: `python -m tests.benchmarks [NAME …]`."""

import sys
from collections.abc import Callable

from tests.benchmarks import generation, memory, policy, selection, steps

BENCHMARKS: dict[str, Callable[[], list[str]]] = {
    "generation": generation.measure,
    "steps": steps.measure,
    "selection": selection.measure,
    "memory": memory.measure,
    "policy": policy.measure,
}
BY_NAME_ONLY = {"policy"}  # compares results, not times: twelve whole pipelines


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"benchmark is {unknown[0]!r}, allowed are {', '.join(BENCHMARKS)}")
    chosen = names or [name for name in BENCHMARKS if name not in BY_NAME_ONLY]
    rows = [row for name in chosen for row in BENCHMARKS[name]()]
    print("\n| what | plain | ours | ratio |\n|---|---|---|---|")
    print("\n".join(rows))


main(sys.argv[1:])
