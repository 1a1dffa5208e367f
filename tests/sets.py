"""Small sets of pairs on disk, and images of which some are planted copies of others."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from stages.datasets.ellipses import Ellipses
from stages.pairs import layout as layout_module
from stages.pairs.layout import Block, Layout, Origins, PixelClass
from stages.pairs.read import Pairs
from stages.pairs.write import create, finish, write_shard
from stages.pipeline.opencv import open_cv

SIZE = 96


class Planted(NamedTuple):
    """A copy of an image: its kind, and the row and column of the image on which its corner lies."""

    kind: str
    image: np.ndarray
    rows: int
    columns: int


def write_set(
    path: Path,
    images: np.ndarray,
    targets: np.ndarray | None = None,
    classes: int | None = None,
    origins: Origins | None = None,
    pixel_classes: Sequence[PixelClass] = (),
    **attributes: Any,
) -> Pairs:
    """A set of some images, with labels or masks of classes if there are any, or of empty masks without targets."""
    count, height, width, channels = images.shape
    layout = Layout(count, (height, width, channels), str(images.dtype), classes)
    if pixel_classes:
        layout = replace(layout, classes=len(pixel_classes), classes_of="pixels")
        attributes["classes"] = [list(each) for each in pixel_classes]
    targets = np.zeros((count, *layout.target_shape), np.uint8) if targets is None else targets
    create(path, layout, attributes)
    ranges = [layout.shard_range(shard) for shard in range(layout.shard_count)]
    parts = [write_shard(path, layout, shard, Block(images[rows], targets[rows])) for shard, rows in enumerate(ranges)]
    finish(path, np.concatenate(parts), origins=origins)
    return Pairs(path)


@contextmanager
def shards_of(rows: int) -> Iterator[None]:
    """Have small sets fill several shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_module, "SHARD_ROWS", rows)
        yield


def random_pairs(count: int, height: int = 4, width: int = 5, dtype: str = "uint8", seed: int = 0) -> Block:
    """Images of noise with masks of noise."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, height, width, 3)) / (255 if dtype == "float32" else 1)
    return Block(images.astype(dtype), random.integers(0, 2, (count, height, width, 1), np.uint8))


def same(left: Block, right: Block) -> bool:
    """Whether two blocks are equal to the last bit."""
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(left, right, strict=True)
    )


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their paths below it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def put_back(path: Path) -> Iterator[None]:
    """Undo whatever is done to a set; much faster than a copy."""
    before = tree(path)
    try:
        yield
    finally:
        after = tree(path)
        if after.keys() - before.keys() or any((path / name).is_dir() for name in before):
            shutil.rmtree(path, ignore_errors=True)
            after = {}
        for name, content in before.items():
            if after.get(name) != content:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(content)


def scenes(count: int, seed: int = 1, size: int = SIZE) -> np.ndarray:
    """Images of twice a size, to cut windows of that size out of; uint8, (n, 2 size, 2 size, 3)."""
    layout = Layout(count, (2 * size, 2 * size, 3), "uint8")
    return Ellipses(layout, seed, size / 6, size / 3, "rectangle").draw(range(count)).images


def window(scene: np.ndarray, rows: int = 0, columns: int = 0) -> np.ndarray:
    """A part of half the height and width of a scene, moved from its middle."""
    size = len(scene) // 2
    top, left = size // 2 + rows, size // 2 + columns
    return scene[top : top + size, left : left + size]


def jpeg(image: np.ndarray, quality: int = 75) -> np.ndarray:
    """What is left of an image after it was compressed."""
    cv2 = open_cv()
    _, content = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED)).reshape(image.shape)


def brightened(image: np.ndarray) -> np.ndarray:
    """An image with more contrast and light, clipped."""
    return np.clip(image * 1.2 + 10, 0, 255).astype(np.uint8)


def rescaled(image: np.ndarray) -> np.ndarray:
    """What is left of an image after it was scaled down to three quarters and up again."""
    cv2 = open_cv()
    height, width = image.shape[:2]
    small = cv2.resize(image, (width * 3 // 4, height * 3 // 4), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height))).reshape(image.shape)


def planted(kind: str, scene: np.ndarray, random: np.random.Generator) -> Planted:
    """A copy of the middle of a scene; shifted ones go to any side, and up to a tenth along it."""
    size = len(scene) // 2
    far = {"quarter": size // 4, "two fifths": 2 * size // 5}.get(kind, 0)
    along = size // 10 if far else 0
    shift = [far * int(random.choice([-1, 1])), int(random.integers(-along, along + 1))]
    rows, columns = shift if random.random() < 0.5 else shift[::-1]
    change = {"jpeg": jpeg, "brightened": brightened, "rescaled": rescaled}.get(kind, np.copy)
    return Planted(kind, change(window(scene, rows, columns)), rows, columns)
