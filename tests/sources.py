"""Sources of pairs in files, opened as stage `generate` opens them, with all images for training."""

from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets.shared.source import open_source
from stages.datasets.shared.tiles import TileSource
from stages.pairs.layout import Block
from tests.damage import refused
from tests.files import noise
from tests.project import dataset_options

SIZE = 16
SHAPE = np.zeros((SIZE, SIZE), bool)
SHAPE[3:9, 5:14] = True
COLOURS = noise(SIZE, SIZE)
LABELS = np.where(SHAPE, COLOURS[..., 0] % 2 + 2, COLOURS[..., 1] % 2).astype(np.uint8)  # 2 and 3 are the shape


def opened(folder: Path, item: str = "train", **changes: Any) -> TileSource:
    """A source of the images of a folder, one tile each if they are small; data set `folder` if none is named."""
    options = {"name": "folder", "path": str(folder), "image_size": SIZE, "test_share": 0.0, **changes}
    found = open_source(dataset_options(**options), item)
    assert isinstance(found, TileSource)
    return found


def drawn(folder: Path, item: str = "train", **changes: Any) -> Block:
    """All pairs of one side."""
    found = opened(folder, item, **changes)
    return found.draw(range(found.layout.count))


def refusal(folder: Path, item: str = "train", **changes: Any) -> str:
    """The one line that ends the attempt to have all pairs."""
    return refused(lambda: drawn(folder, item, **changes))
