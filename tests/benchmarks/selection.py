"""Seed training and selection on a pool of 64×64 against the article's loop in stock Keras on the same pool."""

import csv
import json
import tempfile
import time
from pathlib import Path

from tests.benchmarks.turns import row
from tests.project import make_small_project, metrics, succeed

POOL, SIZE, FILTERS = 1500, 64, 8
PRECISION = 0.3  # at the default 0.85 the literal loop takes hours
PARAMS = {
    "precision": PRECISION,
    "dataset": {"image_size": SIZE, "train_count": POOL, "test_count": 200},
    "network": {"base_filters": FILTERS},
    "select": {"strategy": "first_failure"},
}

LITERAL = f"""
import json, time
from pathlib import Path
import numpy as np
from stages.learning.tensorflow import set_up_tensorflow
set_up_tensorflow()
from stages.pairs.read import Pairs
from tests.benchmarks import plain
block = Pairs(Path("data/train.zarr")).read(range({POOL}))
images, masks = block.images.astype("float32") / 255, block.targets.astype("float32")
started = time.perf_counter()
network = plain.compiled_network({SIZE}, {FILTERS})
counts = plain.select(network, images, masks, {PRECISION}, lambda tested, chosen: None)
print(json.dumps({{**counts, "seconds": time.perf_counter() - started}}))
"""


def measure() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        project = make_small_project(Path(folder), PARAMS)
        succeed(project, "dvc", "repro", "generate@train")
        started = time.perf_counter()
        succeed(project, "dvc", "repro", "train_seed")
        succeed(project, "dvc", "repro", "select")
        seconds = time.perf_counter() - started
        seed, select = metrics(project, "seed"), metrics(project, "select")
        with (project / "data/core.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == select["selected"]
        (project / "tests").symlink_to(Path(__file__).parent.parent)
        literal = json.loads(succeed(project, "python", "-c", LITERAL).splitlines()[-1])
    trained = seed["pairs_trained"] + select["pairs_trained"]
    print(f"ours: {select['selected']} chosen, {trained} trained, {select['pairs_scored']} scored, {seconds:.0f} s")
    print(f"literal: {literal}")
    return [
        row(f"selection from {POOL} pairs, all included", literal["seconds"], seconds),
        row("… a thousand pairs trained", literal["seconds"] / literal["trained"] * 1e3, seconds / trained * 1e3),
        row("… pairs scored", literal["scored"], select["pairs_scored"], "pairs"),
    ]
