"""Colours of images, of masks, and of what is right and wrong in a prediction.

Masks of 0 and 1 and probabilities are drawn from black, 0, to white, 1; masks of classes in the colours of these. The
kinds of pixels have colours that colour-blind people tell apart (Okabe & Ito, 2008); these differ in brightness, too.
"""

from collections.abc import Sequence

import numpy as np

from stages.pairs.layout import GREYS, IGNORED, MASK_THRESHOLD, PixelClass, ignored_class


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour as ``#ff8000``."""
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


KINDS = {
    "rightly in the mask": (86, 180, 233),  # sky blue
    "wrongly in the mask": (240, 228, 66),  # yellow
    "missed": (213, 94, 0),  # vermilion
    "rightly outside": (0, 0, 0),
}
KINDS_OF_CLASSES = {
    "rightly in a class": KINDS["rightly in the mask"],
    "wrongly in a class": KINDS["wrongly in the mask"],
    "missed": KINDS["missed"],
    "in the wrong class": (204, 121, 167),  # reddish purple
    "rightly background": KINDS["rightly outside"],
    "ignored": rgb(GREYS[0]),
}
OUTLINE = (240, 228, 66)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Colours of a stored image.

    Parameters
    ----------
    image : ndarray of uint8, or of float32 in [0, 1], shape (h, w, c)
        Of one or two channels the first is drawn in grey, of more than three the first three.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
    """
    pixels = image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return pixels[:, :, :3] if image.shape[2] >= 3 else np.repeat(pixels[:, :, :1], 3, axis=2)


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Colours of a stored image with the edge of its mask in yellow.

    Parameters
    ----------
    image : ndarray of uint8, or of float32 in [0, 1], shape (h, w, c)
    mask : ndarray of uint8, shape (h, w, 1)

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
    """
    from skimage.segmentation import find_boundaries

    drawn = as_rgb(image).copy()
    drawn[find_boundaries(np.where(mask == IGNORED, 0, mask)[:, :, 0], mode="thick")] = OUTLINE
    return drawn


def mask_as_rgb(mask: np.ndarray, classes: Sequence[PixelClass] = ()) -> np.ndarray:
    """Colours of a mask: greys from black, 0, to white, 1, or those of classes.

    Parameters
    ----------
    mask : ndarray, shape (h, w, 1)
        Numbers in [0, 1], or places in ``classes`` and `IGNORED`, which is grey.
    classes : sequence of PixelClass
        None for masks of 0 and 1.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
    """
    if not classes:
        return np.repeat(np.rint(mask * 255).astype(np.uint8), 3, axis=2)
    palette = np.full((IGNORED + 1, 3), rgb(ignored_class(classes).color), np.uint8)
    palette[: len(classes)] = [rgb(each.color) for each in classes]
    return np.asarray(palette[mask[:, :, 0]])


def comparison_as_rgb(mask: np.ndarray, predicted: np.ndarray, classes: Sequence[PixelClass] = ()) -> np.ndarray:
    """Colours of the kinds of pixels, see `KINDS` and `KINDS_OF_CLASSES`.

    Parameters
    ----------
    mask : ndarray of uint8, shape (h, w, 1)
        The true one.
    predicted : ndarray, shape (h, w, 1)
        Probabilities, or classes.
    classes : sequence of PixelClass
        None for masks of 0 and 1.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
    """
    true, said = mask[:, :, 0], predicted[:, :, 0] if classes else predicted[:, :, 0] > MASK_THRESHOLD
    cases = [true == IGNORED, (true == 0) & (said == 0), true == said, true == 0, said == 0]
    names = ["ignored", "rightly background", "rightly in a class", "wrongly in a class", "missed"]
    number = np.select(cases, range(len(cases)), len(cases))
    colors = np.array([KINDS_OF_CLASSES[name] for name in (*names, "in the wrong class")], np.uint8)
    return np.asarray(colors[number])
