"""A source in an object store on this machine: bytes for heads of images, and an import beside one from the disk."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.datasets.shared.decode import read_header
from stages.datasets.shared.find import examine, find_files
from stages.pipeline import stores
from stages.pipeline.stores import folder_at
from tests.files import make_folder, noise
from tests.project import environment, make_small_project
from tests.store import s3_server, upload, use

COUNT, SIZE, TILE = 200, 768, 256
ENDINGS = ("jpg", "png", "tif")


def measure() -> list[str]:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        names = [f"{number:03d}.{ENDINGS[number % 3]}" for number in range(COUNT)]
        images = {each: _photograph(seed) for seed, each in enumerate(names)}
        masks = {each[:4] + "png": np.where(pixels[..., 0] > 150, 255, 0) for each, pixels in images.items()}
        make_folder(folder / "set", images, {each: mask.astype(np.uint8) for each, mask in masks.items()})
        with s3_server(folder / "log") as address:
            use(address, patch)
            url = upload(folder / "set", "bucket", "set")
            rows = [_heads(folder / "set", url, ending, patch) for ending in ENDINGS]
            seconds = [_import(folder / place, path) for place, path in (("a", str(folder / "set")), ("b", url))]
    rows.append(
        f"| import of {COUNT} images of {SIZE}×{SIZE} | {seconds[0]:.1f} s from the disk "
        f"| {seconds[1]:.1f} s from the store | {seconds[1] / seconds[0]:.2f}× |"
    )
    return rows


def _photograph(seed: int) -> np.ndarray:
    """Soft colours with some noise, which compress as photographs do; uint8, (h, w, 3)."""
    soft = cv2.resize(noise(24, 24, seed=seed), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(soft // 8 * 7 + noise(SIZE, SIZE, seed=seed) // 32)


def _heads(folder: Path, url: str, ending: str, patch: pytest.MonkeyPatch) -> str:
    """The bytes that the heads of the images of a format take, beside those of the files."""
    asked, ask = [], stores._range

    def counted(client: object, url: str, start: int, end: int) -> bytes:
        asked.append(end - start)
        return ask(client, url, start, end)

    found = find_files(folder_at(url), f"images/*.{ending}").images
    with patch.context() as inner:
        inner.setattr(stores, "_range", counted)
        examine(lambda place: read_header(folder_at(url) / found[place]), len(found))
    whole = sum((folder / name).stat().st_size for name in found)
    return (
        f"| heads of {len(found)} images, {ending}, {len(asked)} requests | {whole / 1e6:.1f} MB "
        f"| {sum(asked) / 1e6:.1f} MB | {sum(asked) / whole:.2f}× |"
    )


def _import(folder: Path, path: str) -> float:
    """Seconds of `generate`, which imports nearly all of them to train."""
    dataset = {
        "name": "folder", "path": path, "image_size": TILE, "train_count": None, "test_count": None,
        "test_share": 1 / COUNT,
    }  # fmt: skip
    project = make_small_project(folder, {"dataset": dataset})
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "stages.generate", "train"],
        cwd=project, env=environment(), check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start
