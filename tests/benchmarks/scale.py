"""Time, memory and disk of stages as the pool grows from 1,000 to 1,000,000 pairs of 32×32."""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.project import environment, make_small_project, stage_command, succeed

HEADER = "| stage | pairs | seconds | processor seconds | MB of the stage | MB of a worker | kB of disk a pair |"
COUNTS = (1_000, 10_000, 100_000, 1_000_000)
PARAMS = {
    "dataset": {"image_size": 32, "test_count": 100, "radius_min": 4, "radius_max": 8},
    "network": {"name": "tiny"},
    "seed_training": {"count": 4, "batch_size": 4},
    # So that `evaluate` has the whole pool to score.
    "select": {"strategy": "random", "batch_size": 8, "budget": {"count": 20, "steps": 5}},
    "judge": {"folds": 0},
}
STAGES = ["generate train", "audit", "evaluate"]
BEFORE = {"audit": ["generate test"], "evaluate": ["train_seed", "select", "judge"]}
DISK = {"generate train": "data/train.zarr", "audit": ".traincore", "evaluate": "data/suspects.csv"}
POLL_SECONDS = 0.2


class Use(NamedTuple):
    """What a stage took: seconds of the clock and of processors, and the most bytes of memory and on the disk."""

    seconds: float
    processor: float
    stage: int
    worker: int
    disk: int

    def row(self, stage: str, pairs: int) -> str:
        """A line of the table of `HEADER`."""
        return (
            f"| {stage} | {pairs:,} | {self.seconds:.1f} | {self.processor:.1f} | {self.stage / 1e6:.0f} "
            f"| {self.worker / 1e6:.0f} | {self.disk / pairs / 1e3:.2f} |"
        )


def measure() -> list[str]:
    rows = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            dataset = {**PARAMS["dataset"], "train_count": count}  # type: ignore[dict-item]
            project = make_small_project(Path(folder), {**PARAMS, "dataset": dataset})
            for words in STAGES:
                for before in BEFORE.get(words, []):
                    succeed(project, *stage_command(before))
                use = measured(project, words, DISK[words])
                rows.append(use.row(words, count))
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def measured(project: Path, words: str, output: str) -> Use:
    """Run a stage, and look at its processes and files while it runs; those of ``output`` count as its disk."""
    begun, disk = time.monotonic(), project / output
    process = psutil.Popen(stage_command(words), cwd=project, env=environment(), stderr=subprocess.DEVNULL)
    memory: dict[int, int] = {}
    processor: dict[int, float] = {}
    most = 0
    while process.poll() is None:
        try:
            for each in (process, *process.children(recursive=True)):
                memory[each.pid] = max(memory.get(each.pid, 0), each.memory_info().rss)
                processor[each.pid] = sum(each.cpu_times()[:2])
        except psutil.Error:  # it has just ended
            pass
        if words == "audit":
            most = max(most, _bytes(disk))
        time.sleep(POLL_SECONDS)
    assert process.returncode == 0, words
    stage = memory.pop(process.pid)
    seconds = time.monotonic() - begun
    return Use(seconds, sum(processor.values()), stage, max(memory.values(), default=0), most or _bytes(disk))


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # removed meanwhile
                total += Path(folder, name).stat().st_size
    return total
