"""Cores with their networks, and new images, for tests of the plain commands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.datasets.shared.source import open_source
from stages.pairs.layout import Block, Origins, PixelClass
from stages.pairs.read import Pairs
from stages.pairs.write import copy_rows
from stages.pipeline import paths
from tests import pixelwise
from tests.project import dataset_options
from tests.sets import write_set

SIZE = 16
DARK, BRIGHT = 40, 210


def random_images(count: int, height: int = SIZE, width: int = SIZE, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


def random_masks(count: int, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2, (count, height, width, 1), np.uint8)


def save_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(path)


def read_image(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def files_below(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def write_core(
    images: np.ndarray,
    targets: np.ndarray | None = None,
    rows: list[int] | None = None,
    classes: int | None = None,
    origins: Origins | None = None,
    pixel_classes: Sequence[PixelClass] = (),
    **parameters: Any,
) -> Pairs:
    """The core that has some rows of a pool of these pairs, as stage select writes it."""
    made = {"image_size": images.shape[1], "tile": True, "overlap": 0, "fit": "tile", **parameters}
    pool = write_set(Path("data/train.zarr"), images, targets, classes, origins, pixel_classes, parameters=made)
    rows = list(range(len(images))) if rows is None else rows
    copy_rows(pool, np.array(rows), paths.CORE, {"core_of": pool.attributes})
    return Pairs(paths.CORE)


def teach(core: np.ndarray | None = None, gain: float = pixelwise.STEEP, **cut: Any) -> None:
    """Write the core of some images, and its network that finds bright pixels; the surer the greater its gain."""
    core = random_images(1) if core is None else core
    write_core(core, **cut)
    pixelwise.save(pixelwise.network(SIZE, core.shape[3], gain))


def spotted(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """An image of dark and bright pixels."""
    bright = np.random.default_rng((seed, height, width)).random((height, width, 1)) < 0.5
    return np.where(bright, np.uint8(BRIGHT), np.uint8(DARK)).repeat(channels, axis=2)


def nothing_but(folder: Path, *names: str) -> bool:
    """Whether a folder holds a core, its network, these names and nothing else."""
    return {path.name for path in folder.iterdir()} == {"data", "models", *names}


def read_again(path: str, count: int, **options: Any) -> Block:
    """What data set folder makes of exported files."""
    changes = {"image_size": SIZE, "test_share": 0.0, **options}
    source = open_source(dataset_options("folder", path=path, **changes), "train")
    assert source.layout.count == count
    return source.draw(range(count))


def write_photos(folder: Path) -> None:
    """Two photos and their masks, and the core of three of their tiles."""
    for name, image, mask in zip(("b.c", "a"), random_images(2, 32, 48), random_masks(2, 32, 48), strict=True):
        save_image(folder / f"photos/images/{name}.png", image)
        save_image(folder / f"photos/masks/{name}.png", mask * 255)
    options = dataset_options("folder", path="photos", image_size=SIZE, test_share=0.0)
    source = open_source(options, "train")
    images, masks = source.draw(range(12))
    write_core(images, masks, rows=[11, 1, 7], origins=source.origins, path="photos")
