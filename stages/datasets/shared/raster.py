"""An image as its file stores it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.pipeline.errors import UserError


class Header(NamedTuple):
    """Size and channels of an image as it is shown, the bits of a stored value, and the pages of its file by axes.

    And whether it is stored in another way up than it is shown.
    """

    height: int
    width: int
    channels: int
    bits: int = 8
    pages: int = 1
    stack: tuple[str, ...] = ()
    turned: bool = False


class Raster(NamedTuple):
    """An image as its file stores it, the right way up.

    Attributes
    ----------
    values : ndarray of unsigned or signed integers, or of reals; shape (h, w) or (h, w, c)
        Grey values, colours in the order RGB or RGBA, or the numbers of a palette's colours.
    white : int
        The greatest grey value that the file can store.
    palette : ndarray of uint8, shape (n, 3) or (n, 4), optional
        Colours by their numbers.
    inverted : bool
        Whether 0 is white in the file. The values here are turned over: 0 is black.
    lossy : bool
        Whether values are blurred, as JPEG does it.
    only_bands : bool
        Whether a fourth channel is a band like the others, and not alpha.
    """

    values: np.ndarray
    white: int
    palette: np.ndarray | None = None
    inverted: bool = False
    lossy: bool = False
    only_bands: bool = False


def broken_image(path: Path, error: Exception) -> UserError:
    """The line for an image that a decoder refuses."""
    reason = " ".join(str(error).split()).replace(str(path), "the file")[:150] or type(error).__name__
    return UserError(f"{path}: broken image: {reason}")


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """An image (h, w, …) as it is shown, by EXIF's number for the way in which it is stored, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
