"""Run the benchmarks, those named or all but some, and print their rows: `python -m tests.benchmarks [NAME …]`."""

import sys

from tests.benchmarks.alone import measure_alone

BENCHMARKS = (
    "generation",
    "steps",
    "selection",
    "memory",
    "policy",
    "airbus",
    "store",
    "triage",
    "cluster",
    "scale",
    "ships",
)
BY_NAME_ONLY = {
    "policy",  # compares results, not times: twelve whole pipelines
    "airbus",  # has nothing plain beside it
    "store",  # the same
    "cluster",  # many minutes
    "scale",  # an hour
    "ships",  # an hour, and 15 GB of the disk
    "triage",  # tells about the run that is in data/, models/ and metrics/
}


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"benchmark is {unknown[0]!r}, allowed are {', '.join(BENCHMARKS)}")
    chosen = names or [name for name in BENCHMARKS if name not in BY_NAME_ONLY]
    for name in chosen:
        print("\n".join(["", *measure_alone(name)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
