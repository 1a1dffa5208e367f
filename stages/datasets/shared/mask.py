"""Read a mask from a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets.shared.image import JPEG, TIFF, broken_image, open_pillow, read_image
from stages.pipeline.errors import UserError

ONE_CLASS = [{1}, {255}, {65535}]  # values of a mask of one class beside 0


def read_mask(path: Path, values: Sequence[int] | None) -> np.ndarray:
    """Read a mask: black and white, 0 and 1, or a label image; of one channel, or of several that are equal.

    Parameters
    ----------
    path : Path
        The file.
    values : sequence of int, optional
        Values that belong to the mask; if not given, there must be one class alone.

    Returns
    -------
    ndarray of uint8, shape (h, w, 1)
        0 and 1.

    Raises
    ------
    UserError
        If it is broken, in colours, or of more than one class and no values are given.
    """
    labels = _read_labels(path, by_colour=values is None)
    if path.suffix.lower() in JPEG:  # which blurs the edges
        if values is not None:
            raise UserError(f"{path}: labels in a JPEG are blurred; dataset.mask_values needs another format")
        return _column(labels > 127)
    if values is not None:
        return _column(np.isin(labels, values))
    found = np.setdiff1d(labels, [0]).tolist()
    if found and set(found) not in ONE_CLASS:
        raise UserError(
            f"{path}: holds the values {', '.join(map(str, found[:5]))}{', …' if len(found) > 5 else ''} beside 0; "
            f"dataset.mask_values=[{found[0]}] or a longer list says which of them are the mask"
        )
    return _column(labels != 0)


def _column(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8)[:, :, None]


def _read_labels(path: Path, by_colour: bool) -> np.ndarray:
    """The values of a mask; if it has a palette, the numbers of its colours, unless these are asked for."""
    try:
        labels = _read_tiff_labels(path) if path.suffix.lower() in TIFF else _read_other_labels(path, by_colour)
    except UserError:
        raise
    except Exception as error:  # Pillow and tifffile raise many kinds for damaged files
        raise broken_image(path, error) from None
    if labels.ndim not in (2, 3):
        raise UserError(f"{path}: broken image, or none")
    if labels.ndim == 3:
        colours = labels[:, :, :3] if labels.shape[2] in (3, 4) else labels[:, :, :1]
        if (colours != colours[:, :, :1]).any():
            raise UserError(f"{path}: a mask in colours, allowed is one channel, or several that are equal")
        labels = colours[:, :, 0]
    return labels.astype(np.uint8) if labels.dtype == bool else labels


def _read_tiff_labels(path: Path) -> np.ndarray:
    from tifffile import PHOTOMETRIC, TiffFile

    try:
        with TiffFile(path) as file:
            page = file.pages[0].aspage()
            if page.photometric == PHOTOMETRIC.MINISWHITE:
                raise UserError(f"{path}: white is 0 in it, allowed are masks in which it is the greatest value")
            return page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        return _read_other_labels(path)  # tifffile needs that package for LZW, Pillow for none


def _read_other_labels(path: Path, by_colour: bool = False) -> np.ndarray:
    with open_pillow().open(path) as image:
        if image.format == "BMP" and image.mode == "1":  # Pillow takes two colours for one bit, whatever the depth
            return read_image(path, "uint8")[:, :, 0] > 127
        if by_colour and image.mode == "P" and _is_black_and_white(image):
            image = image.convert("L")
        return np.asarray(image)


def _is_black_and_white(image: Any) -> bool:
    """Tell whether an image with a palette is in black and white: then the colours count, and not their numbers."""
    colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
    used = np.unique(np.asarray(image))
    return bool(used.max() < len(colours) and np.isin(colours[used].sum(axis=1), (0, 3 * 255)).all())
