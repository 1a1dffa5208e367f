"""Tiles: cut images of any size into pairs of one size, and a source of such pairs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.datasets.shared.classes import ClassRule
from stages.datasets.shared.find import LeftOut, warn
from stages.datasets.shared.image import Range, read_image
from stages.datasets.shared.mask import Rule, Seen
from stages.datasets.shared.raster import Header
from stages.pairs.layout import IGNORED, Block, Layout, Origins, PixelClass
from stages.pipeline.errors import UserError
from stages.pipeline.opencv import open_cv
from stages.pipeline.params.sections import DatasetParams

CHANNELS_AT_ONCE = 128  # that OpenCV scales


class Cut(NamedTuple):
    """The rules by which images are cut into tiles.

    Attributes
    ----------
    size : int
        Height and width of a tile.
    whole : bool
        One tile an image; else as many as it takes.
    fit : {"tile", "resize", "pad"}
        The way out where tiles do not fit: the last tile of a row or column is moved back into the image, the image is
        scaled to the nearest size that they fit, or it is filled up: images and masks with zeros, masks of classes with
        ignored pixels.
    overlap : int
        Pixels that neighbouring tiles share.
    """

    size: int
    whole: bool
    fit: str
    overlap: int

    @classmethod
    def of(cls, options: DatasetParams) -> "Cut":
        """The rules that the parameters set."""
        return cls(options.image_size, not options.tile, options.fit, options.overlap)

    def scaled(self, length: int) -> int:
        """The length of a side of an image when it is cut."""
        if self.fit != "resize":
            return length
        stride = self.size - self.overlap
        tiles = 1 if self.whole else max(1, round((length - self.overlap) / stride))
        return tiles * stride + self.overlap

    def starts(self, length: int) -> list[int]:
        """The starts of tiles along a side; none if it is too short or, for one tile, too long."""
        length = self.scaled(length)
        if self.whole:
            return [0] if length == self.size or (self.fit == "pad" and length < self.size) else []
        stride = self.size - self.overlap
        if self.fit == "pad":
            return list(range(0, max(1, length - self.overlap), stride))
        inside = list(range(0, length - self.size + 1, stride))
        if inside and inside[-1] + self.size < length:
            inside.append(length - self.size)
        return inside

    def grid(self, height: int, width: int) -> np.ndarray:
        """Top and left of the tiles of an image, row by row; int32, shape (n, 2)."""
        places = [(top, left) for top in self.starts(height) for left in self.starts(width)]
        return np.array(places, np.int32).reshape(-1, 2)


@dataclass(frozen=True)
class TileSource(ABC):
    """A source of tiles of images in files.

    Attributes
    ----------
    folder : Path
        The folder that all paths start from.
    layout : Layout
        Of the pairs.
    origins : Origins
        For each pair the file, and the first row and column of its tile; in pixels of the image as it is cut.
    left_out : LeftOut
        The files that make no pairs.
    cut : Cut
        The rules by which the images are cut.
    values : Range
        The stored values that are brought to 0 and to 1.
    rule : Rule or ClassRule
        The pixels of a file that belong to the mask, or to each class.
    classes : sequence of PixelClass
        The classes of the pixels, the background first; none for masks of 0 and 1.
    """

    folder: Path
    layout: Layout
    origins: Origins
    left_out: LeftOut
    cut: Cut
    values: Range
    rule: Rule | ClassRule
    classes: Sequence[PixelClass]

    @abstractmethod
    def read(self, file: int, page: int) -> tuple[np.ndarray, np.ndarray, Seen]:
        """An image (h, w, c) in the values to be stored, its mask (h, w, 1), and what the file of the mask holds."""

    def image(self, file: int, page: int) -> np.ndarray:
        """An image (h, w, c) in the values to be stored."""
        return read_image(self.folder / self.origins.files[file][0], self.layout.dtype, self.values, page)

    def draw(self, rows: range) -> Block:
        """The pairs of a range of rows."""
        return self.draw_and_see(rows)[0]

    def draw_and_see(self, rows: range) -> tuple[Block, dict[str, Seen]]:
        """The pairs of a range of rows, and what the masks hold, by their files; each file is read once."""
        seen = {}
        size = self.cut.size
        images = np.empty((len(rows), *self.layout.image_shape), self.layout.dtype)
        masks = np.empty((len(rows), *self.layout.target_shape), np.uint8)
        opened = None
        for place, (file, top, left, page) in enumerate(self.origins.tiles[rows.start : rows.stop].tolist()):
            if (file, page) != opened:
                image, mask, found = self._scaled(file, page)
                opened = file, page
                seen[self.name(file, page)] = found
            images[place] = crop(image, top, left, size)
            masks[place] = crop(mask, top, left, size, IGNORED if self.classes else 0)
        return Block(images, masks), seen

    def name(self, file: int, page: int) -> str:
        """The file of a mask, or of an image whose mask has none of its own, and the page if it is not the first."""
        return f"{self.origins.files[file][-1]}{f', page {page}' if page else ''}"

    def _scaled(self, file: int, page: int) -> tuple[np.ndarray, np.ndarray, Seen]:
        image, mask, seen = self.read(file, page)
        expected = *mask.shape[:2], self.layout.image_shape[2]
        if image.shape != expected:
            path = self.folder / self.origins.files[file][0]
            raise UserError(f"{path}: an image of {image.shape}, by its head and its mask it should be {expected}")
        height, width = (self.cut.scaled(length) for length in image.shape[:2])
        scaled = scale(mask, height, width, nearest=True)
        lost = scaled is not mask and bool(seen.foreground) and not ((scaled > 0) & (scaled != IGNORED)).any()
        return scale(image, height, width), scaled, seen._replace(lost=lost)


def layout_of(
    item: str,
    headers: Sequence[Header],
    left_out: LeftOut,
    cut: Cut,
    options: DatasetParams,
    classes: Sequence[PixelClass] = (),
) -> tuple[Layout, np.ndarray]:
    """The layout of the pairs of a side, and the tile of each.

    Parameters
    ----------
    item : {"train", "test"}
        The side of the split.
    headers : sequence of Header, shape (n,)
        Heads of the images of that side; of one number of channels.
    left_out : LeftOut
        Images that give no tile are added.
    cut : Cut
        The rules by which they are cut.
    options : DatasetParams
        ``train_count`` or ``test_count``, and ``dtype`` are used.
    classes : sequence of PixelClass
        Of their pixels; none for masks of 0 and 1.

    Returns
    -------
    Layout
    ndarray of int32, shape (n, 4)
        Image, top, left, page.

    Raises
    ------
    UserError
        If they give fewer tiles than are asked for, or none.
    """
    tiles = tiles_of(headers, left_out, cut)
    count = options.train_count if item == "train" else options.test_count
    if count is not None and count > len(tiles):
        raise UserError(
            f"dataset.{item}_count is {count}, "
            f"allowed is null or at most {len(tiles)}, the tiles of the images to {item}"
        )
    tiles = tiles[:count]
    shape = (cut.size, cut.size, headers[0].channels)
    return Layout.of_masks(len(tiles), shape, options.dtype, classes), tiles


def tiles_of(headers: Sequence[Header], left_out: LeftOut, cut: Cut) -> np.ndarray:
    """The tiles of some images, row by row; images that give none are counted in a line.

    Returns
    -------
    ndarray of int32, shape (n, 4)
        Image, top, left, page.

    Raises
    ------
    UserError
        If no image gives any.
    """
    grids: dict[tuple[int, int], np.ndarray] = {}  # few sizes, many images
    useless = []
    parts = []
    for image, header in enumerate(headers):
        height, width, pages = header.height, header.width, header.pages
        if (height, width) not in grids:
            grids[height, width] = cut.grid(height, width)
        grid = grids[height, width]
        if not len(grid):
            useless.append((height, width))
        of_image = np.repeat(np.arange(pages, dtype=np.int32), len(grid))
        parts.append(np.column_stack([np.full(len(of_image), image, np.int32), np.tile(grid, (pages, 1)), of_image]))
    if len(useless) == len(headers):
        height, width = useless[0]
        raise UserError(
            f"dataset.image_size is {cut.size}: none of {len(headers)} images gives a tile of that size, the first has "
            f"{height}×{width}; {_ways_in(cut, height, width)} takes them in"
        )
    if useless:
        height, width = useless[0]
        left_out.counts[f"no tile of {cut.size}×{cut.size}"] += len(useless)
        warn(
            f"{len(useless)} images left out, as one of {height}×{width}, "
            f"since they give no tile of {cut.size}×{cut.size}; {_ways_in(cut, height, width)} takes them in"
        )
    return np.concatenate(parts)


def _ways_in(cut: Cut, height: int, width: int) -> str:
    """Parameters by which images of a size that give no tile give one."""
    too_large = cut.whole and max(height, width) > cut.size
    return f"dataset.{'tile=true' if too_large else 'fit=pad'} or dataset.fit=resize"


def scale(image: np.ndarray, height: int, width: int, nearest: bool = False) -> np.ndarray:
    """Scale an image (h, w, c): smoothly, or by the nearest pixel, as masks need it."""
    if image.shape[:2] == (height, width):
        return image
    cv2 = open_cv()
    smaller = height * width < image.shape[0] * image.shape[1]
    kind = cv2.INTER_NEAREST_EXACT if nearest else cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    parts = [image[:, :, start : start + CHANNELS_AT_ONCE] for start in range(0, image.shape[2], CHANNELS_AT_ONCE)]
    scaled = [np.asarray(cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=kind)) for part in parts]
    return np.concatenate([part.reshape(height, width, -1) for part in scaled], axis=2)


def crop(image: np.ndarray, top: int, left: int, size: int, fill: int = 0) -> np.ndarray:
    """A tile of an image, filled up where it reaches over the edge."""
    part = image[top : top + size, left : left + size]
    if part.shape[:2] == (size, size):
        return part
    tile = np.full((size, size, image.shape[2]), fill, image.dtype)
    tile[: part.shape[0], : part.shape[1]] = part
    return tile
