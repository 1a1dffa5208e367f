"""Peak memory of `select` as the pool grows."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.project import make_small_project, succeed

POOLS = (2_000, 10_000, 50_000)

# A low precision, so that long pools are walked in minutes: what is held does not depend on it.
PARAMS = {
    "precision": 0.3,
    "dataset": {"image_size": 64, "test_count": 1},
    "network": {"base_filters": 8, "dropout": 0.1},
    "select": {"strategy": "first_failure"},
}


def measure() -> list[str]:
    peaks = {pool: _peak(pool) for pool in POOLS}
    smallest = peaks[POOLS[0]]
    return [
        f"| peak memory of select, {pool} pairs of 64×64 | {smallest:.0f} MB at {POOLS[0]} | {peak:.0f} MB "
        f"| {peak / smallest:.2f}× |"
        for pool, peak in peaks.items()
    ]


def _peak(pool: int) -> float:
    """Most memory that the stage held at a time, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        params = {**PARAMS, "dataset": {**PARAMS["dataset"], "train_count": pool}}  # type: ignore[dict-item]
        project = make_small_project(Path(folder), params)
        succeed(project, "dvc", "repro", "generate@train")
        succeed(project, "dvc", "repro", "--single-item", "train_seed")
        process = subprocess.Popen([sys.executable, "-m", "stages.select"], cwd=project, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, "select failed"
        return usage.ru_maxrss * 1024 / 1e6  # Linux counts in KiB
