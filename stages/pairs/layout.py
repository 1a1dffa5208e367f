"""Layout of a set of pairs in Zarr: its arrays, and the files that hold them.

A set is a Zarr v3 group with the arrays ``images`` (n, h, w, c) and ``masks`` (n, h, w, 1), or ``labels`` (n, 1) in
their place, a chunk a pair, many chunks a shard; masks hold 0 and 1, or the class of each pixel. ``checksums`` (n, 2),
the CRC-32C of each pair's two chunks, tells a damaged, swapped or missing shard from a good one; for a set taken from
another there is ``rows`` (n,), where its pairs stood there; and for one that comes from files, ``tiles`` (n, 4) with
the file, top, left and page of each pair, and ``files``, the names of these as JSON.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from stages.pairs import shards

FORMAT = "traincore.pairs"
VERSION = 2
# A shard is a file that DVC hashes and one worker holds: few of them, none of them large.
SHARD_ROWS = 512
CLASSES = 256
IGNORED = 255  # in masks of classes: a pixel that neither trains nor counts
GREYS = ("#808080", "#c0c0c0", "#404040")  # what such pixels are drawn in: the first that no class has
MASK_THRESHOLD = 0.5  # a pixel of a greater probability is predicted to belong to the mask
# Noise does not compress and costs time in trying; masks shrink a hundredfold.
COMPRESSION = {"images": "raw", "masks": "zstd", "labels": "raw"}
AXES = {
    "images": ("pair", "row", "column", "channel"),
    "masks": ("pair", "row", "column", "channel"),
    "labels": ("pair", "label"),
}


Kind = Literal["masks", "classes", "labels"]
ClassesOf = Literal["images", "pixels"]


class PixelClass(NamedTuple):
    """A class of pixels: its name, what stands for it in the files that it comes from, and a colour as ``#ff8000``."""

    name: str
    value: int
    color: str


def own_name(name: str, classes: Iterable[PixelClass]) -> str:
    """A name that files for other programs add to those of some classes; where one has it, with ``_`` behind it."""
    taken = {each.name for each in classes}
    while name in taken:
        name += "_"
    return name


def ignored_class(classes: Iterable[PixelClass]) -> PixelClass:
    """What stands for ignored pixels beside some classes."""
    classes = [*classes]
    taken = {each.color for each in classes}
    grey = next((color for color in GREYS if color not in taken), GREYS[0])
    return PixelClass(own_name("ignored", classes), IGNORED, grey)


class Block(NamedTuple):
    """Some pairs in memory: images (n, h, w, c) as stored; targets uint8, masks (n, h, w, 1) or labels (n, 1)."""

    images: np.ndarray
    targets: np.ndarray


class Origins(NamedTuple):
    """Files that the pairs of a set come from.

    Attributes
    ----------
    files : sequence of sequence of str
        For each image its file, and that of its mask if it has one of its own; below the folder, with ``/``.
    tiles : ndarray of int32, shape (n, 4)
        For each pair its place in ``files``, the first row and column there, and the page; all from 0.
    """

    files: Sequence[Sequence[str]]
    tiles: np.ndarray

    def of(self, rows: np.ndarray) -> "Origins":
        """Origins of some rows alone."""
        used, places = np.unique(self.tiles[rows, 0], return_inverse=True)
        return Origins([self.files[file] for file in used], np.column_stack([places, self.tiles[rows, 1:]]))


@dataclass(frozen=True)
class Layout:
    """Number, shape and kind of the pairs of a set.

    Attributes
    ----------
    count : int
        Pairs in the set.
    image_shape : tuple of int
        Height, width, channels.
    dtype : {"uint8", "float32"}
        The images' dtype on disk.
    classes : int, optional
        Number of classes, which count from 0; None for masks of 0 and 1.
    classes_of : {"images", "pixels"}
        Whether an image is of a class, its label, or each of its pixels: then targets are masks of classes, 0 for the
        background, or `IGNORED`.
    """

    count: int
    image_shape: tuple[int, int, int]
    dtype: str
    classes: int | None = None
    classes_of: ClassesOf = field(default="images", repr=False)  # digests go by the text of the others

    @classmethod
    def of_masks(
        cls, count: int, image_shape: tuple[int, int, int], dtype: str, classes: Sequence[PixelClass]
    ) -> "Layout":
        """The layout of pairs with masks of some classes, the background first, or without any of 0 and 1."""
        return cls(count, image_shape, dtype, len(classes) or None, "pixels" if classes else "images")

    @property
    def kind(self) -> Kind:
        """What targets are: masks of 0 and 1, masks of classes, or labels."""
        if self.classes is None:
            return "masks"
        return "labels" if self.classes_of == "images" else "classes"

    @property
    def scale(self) -> float:
        """Divisor that takes a stored value to [0, 1]."""
        return 255.0 if self.dtype == "uint8" else 1.0

    @property
    def target(self) -> str:
        """The array that holds the targets: "masks" or "labels"."""
        return "labels" if self.kind == "labels" else "masks"

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of a mask, (height, width, 1), or of a label, (1,)."""
        return (1,) if self.kind == "labels" else (*self.image_shape[:2], 1)

    @property
    def prediction_shape(self) -> tuple[int, ...]:
        """Shape of the probabilities of a pair: (height, width, 1 or classes), or (classes,)."""
        return (*self.target_shape[:-1], self.classes or 1)

    @property
    def shard_rows(self) -> int:
        """Pairs in a shard."""
        return max(1, min(SHARD_ROWS, shards.SHARD_BYTES // self.image_bytes))

    @property
    def image_bytes(self) -> int:
        """Bytes of an image on disk."""
        return math.prod(self.image_shape) * np.dtype(self.dtype).itemsize

    @property
    def shard_count(self) -> int:
        """Shards of each array."""
        return -(-self.count // self.shard_rows)

    @property
    def bytes(self) -> int:
        """Estimate of the bytes of a set on disk: images do not compress, masks shrink to a few percent."""
        return self.count * (self.image_bytes + math.prod(self.target_shape) // 20)

    def shard_range(self, shard: int) -> range:
        """Rows of the pairs in a shard."""
        return range(shard * self.shard_rows, min(self.count, (shard + 1) * self.shard_rows))


def arrays_of(layout: Layout) -> list[tuple[str, tuple[int, ...], str]]:
    """The arrays of images and targets: name, shape of a pair, dtype."""
    return [("images", layout.image_shape, layout.dtype), (layout.target, layout.target_shape, "uint8")]


def shard_path(path: Path, name: str, shard: int) -> Path:
    """The file of a shard of an array."""
    return path.joinpath(name, "c", str(shard), *"0" * (len(AXES[name]) - 1))


def has_foreground(targets: np.ndarray) -> np.ndarray:
    """Tell which masks (n, h, w, 1) hold any pixel of a class other than the background; bool, shape (n,)."""
    return np.asarray(((targets > 0) & (targets != IGNORED)).any(axis=(1, 2, 3)))
