"""The Airbus set as large as a small disk allows: time, memory and disk of each stage, and of DVC itself.

20,000 images of 768×768 are imported whole, scaled to 128×128, and audited. A pool of 200,000 tiles of 64×64 of them is
audited, walked through by a small network, and evaluated.
"""

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.pipeline.machine import cores
from tests.benchmarks.scale import HEADER as HEADER
from tests.benchmarks.scale import measured
from tests.files import encode, turned
from tests.project import environment, make_small_project, metrics

IMAGES = 20_000
SIDE = 768
EMPTY = 0.78  # of the images of the challenge, about so many have no ship
TILES = 200_000
OUTPUTS = {
    "generate train": "data/train.zarr",
    "generate test": "data/test.zarr",
    "audit": ".traincore",
    "train_seed": "models",
    "select": "data/core.zarr",
    "judge": "data/judged.npz",
    "evaluate": "data/suspects.csv",
}
COMMON = {
    "score": "iou",
    "precision": 0.7,
    "network": {"base_filters": 4},
    "seed_training": {"with_foreground": True},
}
WHOLE = {"image_size": 128, "tile": False, "fit": "resize", "test_share": 0.1}
TILED = {"image_size": 64, "tile": True, "train_count": TILES, "test_count": TILES // 10, "test_share": 0.1}


def measure() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        ships = Path(folder) / "ships"
        _make(ships)
        rows = _rows(Path(folder) / "whole", ships, WHOLE, [*OUTPUTS][:3])
        return [*rows, *_rows(Path(folder) / "tiles", ships, TILED, [*OUTPUTS])]


def _rows(folder: Path, ships: Path, dataset: Mapping[str, Any], stages: Sequence[str]) -> list[str]:
    """A row for each stage, and for `dvc commit` and `dvc status` of what they wrote."""
    project = make_small_project(folder, {**COMMON, "dataset": {"name": "airbus", "path": str(ships), **dataset}})
    rows: list[str] = []

    def add(row: str) -> None:
        rows.append(row)
        print(row, file=sys.stderr, flush=True)  # the whole takes an hour

    for words in stages:
        use = measured(project, words, OUTPUTS[words])
        pairs = metrics(project, "train")["pairs"]
        add(use.row(words, pairs))
    written = ["generate@train", "generate@test", "audit"]
    for command in (["commit", "--force"], ["status"]):
        start = time.perf_counter()
        subprocess.run(
            ["dvc", *command, *written], cwd=project, env=environment(), check=True, capture_output=True, text=True
        )
        add(f"| dvc {command[0]} | {pairs:,} | {time.perf_counter() - start:.1f} | – | – | – | – |")
    if "select" in stages:
        found = metrics(project, "select")
        failing = metrics(project, "evaluate")["test"]
        add(
            f"| {found['selected']} chosen, certified: {found['certified']}, in {found['passes']} passes; of "
            f"{failing['pairs']:,} test pairs {failing['below_bar']} below the bar | {pairs:,} | – | – | – | – | – |"
        )
    return rows


def _make(folder: Path) -> None:
    """Images in the layout of the challenge, and their table."""
    (folder / "train_v2").mkdir(parents=True)
    with (
        (folder / "train_ship_segmentations_v2.csv").open("w", encoding="utf-8", newline="") as file,
        ProcessPoolExecutor(cores()) as pool,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["ImageId", "EncodedPixels"])
        for lines in pool.map(partial(_draw, folder / "train_v2"), range(IMAGES), chunksize=100):
            table.writerows(lines)


def _draw(folder: Path, number: int) -> list[tuple[str, str]]:
    """Write an image of waves, foam and, in some, up to four ships; its lines of the table."""
    random = np.random.default_rng(number)
    waves = Image.fromarray(random.normal(60, 12, (48, 48)).astype(np.float32)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    sea = np.asarray(waves) + random.normal(0, 3, (SIDE, SIDE)).astype(np.float32)
    for _ in range(random.integers(0, 4)):
        row, column, spread = *random.uniform(0, SIDE, 2), random.uniform(4, 30)
        square = (np.arange(SIDE) - row)[:, None] ** 2 + (np.arange(SIDE) - column) ** 2
        sea += random.uniform(20, 90) * np.exp(-square / (2 * spread**2)).astype(np.float32)
    taken = np.zeros((SIDE, SIDE), bool)
    lines = []
    for _ in range(0 if random.random() < EMPTY else random.integers(1, 5)):
        ship = _ship(random) & ~taken
        if ship.any():
            taken |= ship
            lines.append(encode(ship))
            sea[ship] += random.uniform(40, 110)
    tint = np.array([0.8, 1.0, 1.1], np.float32)
    name = f"{number:08x}.jpg"
    Image.fromarray(np.clip(sea[..., None] * tint, 0, 255).astype(np.uint8)).save(folder / name, quality=85)
    return [(name, line) for line in lines or [""]]


def _ship(random: np.random.Generator) -> np.ndarray:
    """Pixels of a turned hull, 30 to 200 pixels long; bool, (h, w)."""
    length = random.uniform(30, 200)
    along, across = turned(random, SIDE, random.uniform(0, np.pi))
    beam = length / 10 * np.sqrt(np.clip(1 - (2 * along / length) ** 4, 0, None))
    return np.asarray((np.abs(along) <= length / 2) & (np.abs(across) <= beam))
