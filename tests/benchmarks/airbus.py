"""Import of images in the Airbus layout: images a second, and peak memory as there are more of them."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.files import make_airbus
from tests.project import make_small_project

COUNTS = (500, 2_000)
SIZE = 768
TILE = 256


def measure() -> list[str]:
    rows, peaks = [], []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            seconds, peak, pairs = _import(Path(folder), count)
        peaks.append(peak)
        rows.append(
            f"| import of {count} images of {SIZE}×{SIZE}, {pairs} tiles of {TILE}×{TILE}, "
            f"{count / seconds:.0f} images a second; peak memory "
            f"| {peaks[0]:.0f} MB at {COUNTS[0]} | {peak:.0f} MB | {peak / peaks[0]:.2f}× |"
        )
    return rows


def _import(folder: Path, count: int) -> tuple[float, float, int]:
    """Seconds, MB of the largest process, and tiles of `generate`, which imports all of them but one to train."""
    make_airbus(folder / "ships", count, SIZE)
    dataset = {
        "name": "airbus", "path": str(folder / "ships"), "image_size": TILE, "train_count": None,
        "test_count": None, "test_share": 1 / count,
    }  # fmt: skip
    project = make_small_project(folder / "project", {"dataset": dataset})
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.generate", "train"], cwd=project, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, lines
    pairs = re.findall(r"(\d+)/\1 pair", lines)[-1]
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6, int(pairs)
