"""What the files of all tools are made of: images in an order, masks of classes, and the values to sort by."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

import numpy as np

from stages.pairs.layout import IGNORED, PixelClass, ignored_class
from stages.pipeline.opencv import open_cv

OBJECT = PixelClass("object", 1, "#ff8000")  # what masks of 0 and 1 show; they have no names of their own


class Item(NamedTuple):
    """An image to look at.

    Attributes
    ----------
    name : str
        Path of the image below the folder of images, with ``/``.
    mask : ndarray of uint8, shape (h, w)
        The class of each pixel, 0 for the background.
    score : float, optional
        The lower, the sooner it should be looked at.
    fields : mapping
        Further values of it; all items of a file have the same names.
    """

    name: str
    mask: np.ndarray
    score: float | None
    fields: Mapping[str, int | float | str]

    @property
    def values(self) -> dict[str, int | float | str | None]:
        """All that a person can sort by: the score and the fields."""
        return {"score": self.score, **self.fields}


class Export(NamedTuple):
    """What is the same for all items of a file.

    Attributes
    ----------
    labels : mapping
        The class that each value of a mask stands for, but for the background.
    images : str
        Name of the folder of images.
    predicted : bool
        Whether a network made the masks, so that a person has yet to accept them.
    """

    labels: Mapping[int, PixelClass]
    images: str
    predicted: bool


class Region(NamedTuple):
    """A part of an image: its first row and column, and which of its pixels are meant; bool, shape (h, w)."""

    top: int
    left: int
    bits: np.ndarray


def labels_of(classes: Sequence[PixelClass]) -> dict[int, PixelClass]:
    """What values of masks stand for, but for the background; ``classes`` are a set's, none for masks of 0 and 1."""
    return dict(enumerate(classes[1:], 1)) | {IGNORED: ignored_class(classes)} if classes else {1: OBJECT}


def regions(mask: np.ndarray, value: int) -> Iterator[Region]:
    """The connected regions of a value in a mask (h, w); pixels that share a corner are connected."""
    cv2 = open_cv()
    count, places, boxes, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=8)
    for number in range(1, count):  # 0 is what lies outside of them
        left, top, width, height, _ = boxes[number].tolist()
        yield Region(top, left, places[top : top + height, left : left + width] == number)


def runs(bits: np.ndarray) -> list[int]:
    """Lengths of the runs of 0 and 1 in turn, those of 0 first, in an array (n,); the first may be 0."""
    ends = np.flatnonzero(bits[1:] != bits[:-1]) + 1
    lengths = np.diff(ends, prepend=0, append=len(bits)).tolist()
    return [0, *lengths] if bits[0] else lengths


def write_list(file: TextIO, values: Iterable[Any]) -> None:
    """Write a list as JSON, a value a line, while its values are made."""
    separator = "[\n"
    for value in values:
        file.write(f"{separator}{json.dumps(value)}")
        separator = ",\n"
    file.write("[]" if separator == "[\n" else "\n]")
