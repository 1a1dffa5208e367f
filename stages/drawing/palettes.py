"""Masks as PNG files: white on black, or of classes, whose palette has their colours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from stages.drawing.colors import rgb
from stages.pairs.layout import IGNORED, PixelClass, ignored_class
from stages.pairs.tables import write_csv


def numbers_of(classes: Sequence[PixelClass]) -> list[int]:
    """The number of each class in such files: its value where it comes from, or else its place.

    Values are taken if all of them are different ones from 0 to 254, since 255 stands for ignored pixels.
    """
    values = [each.value for each in classes]
    return (
        values
        if all(0 <= value < IGNORED for value in values) and len({*values}) == len(values)
        else [*range(len(values))]
    )


def save_mask(mask: np.ndarray, path: Path, classes: Sequence[PixelClass]) -> None:
    """Write a mask.

    Parameters
    ----------
    mask : ndarray of uint8, shape (h, w)
        0 and 1; or places of classes, and `IGNORED`.
    path : Path
        The PNG file.
    classes : sequence of PixelClass
        None for a mask of 0 and 1.
    """
    if not classes:
        Image.fromarray(mask * np.uint8(255)).save(path)
        return
    numbers = [*numbers_of(classes), IGNORED]
    number_of = np.zeros(IGNORED + 1, np.uint8)
    number_of[[*range(len(classes)), IGNORED]] = numbers
    palette = np.zeros((IGNORED + 1, 3), np.uint8)
    palette[numbers] = [rgb(each.color) for each in (*classes, ignored_class(classes))]
    picture = Image.fromarray(number_of[mask]).convert("P")
    picture.putpalette(palette.tobytes())
    picture.save(path)


def write_legend(folder: Path, classes: Sequence[PixelClass]) -> None:
    """Write ``classes.csv``: what stands in these files for each class, and for ignored pixels; names and colours."""
    named = zip([*numbers_of(classes), IGNORED], [*classes, ignored_class(classes)], strict=True)
    lines = [(number, each.name, each.color) for number, each in named]
    write_csv(folder / "classes.csv", ["value", "name", "color"], lines)
