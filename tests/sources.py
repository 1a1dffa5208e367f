"""Sources of pairs in files, opened as stage `generate` opens them, with all images for training."""

from pathlib import Path
from typing import Any, NamedTuple

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


class Opening(NamedTuple):
    """How sources of a data set are opened: one tile an image, if images are of that size."""

    name: str = "folder"
    size: int = SIZE

    def opened(self, folder: Path, item: str = "train", **changes: Any) -> TileSource:
        """A source of the images of a folder."""
        options = {"name": self.name, "path": str(folder), "image_size": self.size, "test_share": 0.0, **changes}
        found = open_source(dataset_options(**options), item)
        assert isinstance(found, TileSource)
        return found

    def drawn(self, folder: Path, item: str = "train", **changes: Any) -> Block:
        """All pairs of one side."""
        found = self.opened(folder, item, **changes)
        return found.draw(range(found.layout.count))

    def refusal(self, folder: Path, item: str = "train", **changes: Any) -> str:
        """The one line that ends the attempt to have all pairs."""
        return refused(lambda: self.drawn(folder, item, **changes))


opened, drawn, refusal = Opening().opened, Opening().drawn, Opening().refusal
