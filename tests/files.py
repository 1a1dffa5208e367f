"""Small inputs in files: folders of images and masks, in the layout of Kaggle's Airbus challenge, and in COCO's."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image
from pycocotools import mask as cocoapi


def save(path: Path, pixels: np.ndarray) -> None:
    """Write an image (h, w) or (h, w, c) of 8 or 16 bits in the format of its suffix; grey, RGB or RGBA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, pixels, photometric="minisblack" if pixels.ndim == 2 else "rgb")
    elif pixels.dtype == np.uint16 and pixels.ndim == 3:  # Pillow has no such colours
        order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        assert cv2.imwrite(str(path), cv2.cvtColor(pixels, order))
    else:
        Image.fromarray(pixels).save(path, quality=100)  # which means something to JPEG alone


def make_folder(folder: Path, images: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]) -> Path:
    """A folder with ``images/`` and ``masks/``; files by their names, whose suffixes say the format."""
    for place, files in (("images", images), ("masks", masks)):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name, pixels in files.items():
            save(folder / place / name, pixels)
    return folder


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """An image of uint8 (h, w, c), or (h, w) for one channel."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return pixels[:, :, 0] if channels == 1 else pixels


def black_and_white(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A mask of uint8 (h, w), 0 and 255."""
    return np.random.default_rng(seed).integers(0, 2, (height, width), np.uint8) * np.uint8(255)


def make_pairs(folder: Path, count: int, height: int = 16, width: int = 16, channels: int = 3) -> Path:
    """A folder of PNGs ``a``, ``b`` … of noise, with masks."""
    stems = [chr(ord("a") + number) for number in range(count)]
    return make_folder(
        folder,
        {f"{stem}.png": noise(height, width, channels, seed) for seed, stem in enumerate(stems)},
        {f"{stem}.png": black_and_white(height, width, seed) for seed, stem in enumerate(stems)},
    )


def make_airbus(folder: Path, count: int, size: int, seed: int = 0) -> Path:
    """Square images of noise with up to three ships each, which are brighter rectangles, and the table of these."""
    (folder / "train_v2").mkdir(parents=True)
    with (folder / "train_ship_segmentations_v2.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["ImageId", "EncodedPixels"])
        for number in range(count):
            random = np.random.default_rng([seed, number])
            image = random.integers(40, 72, (size, size, 3), np.uint8)
            taken = np.zeros((size, size), bool)
            ships = []
            for _ in range(random.integers(0, 4)):
                ship = _rectangle(random, size) & ~taken
                taken |= ship
                if ship.any():
                    ships.append(encode(ship))
            image[taken] += 100
            name = f"{number:08x}.jpg"
            Image.fromarray(image).save(folder / "train_v2" / name, quality=90)
            table.writerows([name, ship] for ship in ships or [""])
    return folder


def make_coco(
    folder: Path,
    annotations: Sequence[Mapping[str, Any]],
    images: Mapping[str, np.ndarray],
    categories: Mapping[int, str],
) -> Path:
    """Images with ids from 1 on in the order of their names, and ``annotations.json`` with ids from 101 on."""
    listed = []
    for number, (name, pixels) in enumerate(sorted(images.items()), 1):
        save(folder / name, pixels)
        height, width = pixels.shape[:2]
        listed.append({"id": number, "file_name": name, "height": height, "width": width})
    content = {
        "info": {"year": 2017},
        "images": listed,
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, 101)],
        "categories": [{"id": number, "name": name, "supercategory": "thing"} for number, name in categories.items()],
    }
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def box(left: int, top: int, right: int, bottom: int) -> list[int]:
    """A rectangle as a polygon; its pixels are the rows from top and the columns from left, to the others."""
    return [left, top, right, top, right, bottom, left, bottom]


def counted(mask: np.ndarray) -> dict[str, Any]:
    """A mask (h, w) as COCO's page describes runs: pixels outside and inside by turns, down the columns."""
    pixels = mask.T.ravel()
    edges = np.flatnonzero(np.diff(pixels)) + 1
    counts = np.diff([0, *edges, len(pixels)]).tolist()
    return {"size": [*mask.shape], "counts": [0, *counts] if pixels[0] else counts}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    """The same as COCO's own code compresses it."""
    runs = cocoapi.encode(np.asfortranarray(mask))
    return {"size": [*mask.shape], "counts": runs["counts"].decode()}


def _rectangle(random: np.random.Generator, size: int) -> np.ndarray:
    """Pixels of a turned rectangle somewhere in a square; it may reach over the edge."""
    length = random.uniform(size / 8, size / 3)
    along, across = turned(random, size, random.uniform(0, np.pi))
    return np.asarray((np.abs(along) <= length / 2) & (np.abs(across) <= length / 8))


def turned(random: np.random.Generator, size: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the pixels of a square along a turned line and across it, from a centre that is drawn."""
    row, column = (np.arange(size) - random.uniform(0, size) for _ in range(2))
    along = row[:, None] * np.sin(angle) + column * np.cos(angle)
    across = row[:, None] * np.cos(angle) - column * np.sin(angle)
    return along, across


def encode(mask: np.ndarray) -> str:
    """A mask (h, w) as Kaggle writes it: "start length start length …", down the columns, the first pixel being 1."""
    pixels = np.concatenate([[0], mask.T.ravel(), [0]]).astype(int)
    edges = np.flatnonzero(np.diff(pixels)) + 1
    return " ".join(f"{start} {end - start}" for start, end in edges.reshape(-1, 2).tolist())
