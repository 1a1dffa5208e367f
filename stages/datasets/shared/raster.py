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


def one_channel(path: Path, values: np.ndarray, lossy: bool = False) -> np.ndarray:
    """The values (h, w) of a mask of one channel, or of several that are equal.

    Raises
    ------
    UserError
        If they differ.
    """
    if values.ndim == 2:
        return values
    colours = values[:, :, :3]
    require_opaque(path, values)
    if (colours != colours[:, :, :1]).any():
        raise UserError(
            f"{path}: a mask in colours, allowed is one channel, or several that are equal"
            + ("" if lossy else "; dataset.classes=all makes a class of each colour")
        )
    return colours[:, :, 0]


def require_opaque(path: Path, values: np.ndarray) -> None:
    """Raise if pixels (h, w, c) of a mask are not to be seen, while others are, and would still stand for something.

    Also if nothing but alpha tells them apart.
    """
    if values.ndim == 3 and values.shape[2] == 4:
        colours, hidden = values[:, :, :3], values[:, :, 3] == 0
        if (colours == colours[0, 0]).all() and (values[:, :, 3] != values[0, 0, 3]).any():
            raise UserError(
                f"{path}: its colours are the same everywhere and its alpha channel is not, allowed are masks in black "
                "and white: save the alpha channel as an image of its own"
            )
        if (colours.any(axis=2) & hidden).any() and not hidden.all():
            raise UserError(
                f"{path}: transparent pixels that are not black, which may or may not belong to the mask; allowed are "
                "opaque ones: save it without its alpha channel, as it is to be seen"
            )


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """An image (h, w, …) as it is shown, by EXIF's number for the way in which it is stored, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
