"""Copies among images: the same, nearly the same, or overlapping at a shift; found without comparing all with all.

A perceptual hash of the whole image finds copies that were scaled, brightened or compressed anew; hashes of its corners
(ORB: Rublee et al., 2011) find images that overlap. Images whose hashes collide are candidates, and only candidates are
compared: phase correlation says how they lie on each other, the correlation of their common part how alike they are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from stages.pipeline.opencv import open_cv

CORNERS = 64  # of an image
CORNER_PIXELS = 31  # side of the square around a corner that is hashed
LEVELS = 4  # of the pyramid in which corners are looked for
FLAT = 2.0  # standard deviation in grey levels; an image below it shows nothing to hash
PLAIN = 1e-3  # standard deviation of details; below it they come from rounding alone
LEAST_OVERLAP = 0.2  # of the area; below it correlations are high by chance
BLUR = 1.0  # pixels; compression changes much that is finer
SHAPES = 3.0  # pixels; coarser shapes can be alike in unlike images


class Marks(NamedTuple):
    """Hashes by which copies of images are found.

    Attributes
    ----------
    whole : ndarray of uint64, shape (n,)
        Perceptual hash of each image.
    flat : ndarray of bool, shape (n,)
        Images that show nothing to hash.
    image : ndarray of int32, shape (m,)
        The image of each corner.
    place : ndarray of float32, shape (m, 2)
        Row and column of each corner.
    corner : ndarray of uint8, shape (m, 32)
        Hash of each corner.
    """

    whole: np.ndarray
    flat: np.ndarray
    image: np.ndarray
    place: np.ndarray
    corner: np.ndarray


class Overlap(NamedTuple):
    """Place of two images on each other: row and column of the first that meet the corner of the second, and likeness.

    The likeness is the correlation of their common part, in [-1, 1].
    """

    rows: int
    columns: int
    likeness: float


def marks_of(images: np.ndarray) -> Marks:
    """The hashes of some images.

    Parameters
    ----------
    images : ndarray of uint8 or float32, shape (n, h, w, c)
        In [0, 255] or [0, 1].
    """
    from imagehash import phash
    from PIL import Image

    cv2 = open_cv()
    size = max(2, min(CORNER_PIXELS, images.shape[1] // 2))
    finder = cv2.ORB.create(CORNERS, nlevels=LEVELS, edgeThreshold=size // 2, patchSize=size, fastThreshold=5)
    whole, flat, owners, places, corners = [], [], [], [], []
    for number, image in enumerate(images):
        grey = grey_of(image)
        flat.append(grey.std() < FLAT)
        whole.append(0 if flat[-1] else int(str(phash(Image.fromarray(grey))), 16))
        found, hashes = ([], None) if flat[-1] else finder.detectAndCompute(cv2.GaussianBlur(grey, (0, 0), BLUR), None)
        if hashes is not None:
            owners += [number] * len(hashes)
            places += [(each.pt[1], each.pt[0]) for each in found]
            corners.append(hashes)
    return Marks(
        np.array(whole, np.uint64),
        np.array(flat, bool),
        np.array(owners, np.int32),
        np.array(places, np.float32).reshape(-1, 2),
        np.concatenate(corners) if corners else np.empty((0, 32), np.uint8),
    )


def grey_of(image: np.ndarray) -> np.ndarray:
    """An image (h, w, c) in grey, uint8 of shape (h, w); transparency is left out."""
    grey = image[:, :, :3].mean(axis=2)
    return np.asarray(np.rint(grey if image.dtype == np.uint8 else grey * 255), np.uint8)


def joined(parts: Sequence[Marks]) -> Marks:
    """The marks of images that follow each other."""
    starts = np.cumsum([0, *(len(part.whole) for part in parts)])
    owners = [part.image + start for part, start in zip(parts, starts[:-1].tolist(), strict=True)]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Marks(*columns)._replace(image=np.concatenate(owners).astype(np.int32))


def overlap_of(first: np.ndarray, second: np.ndarray, shift: np.ndarray | None) -> Overlap | None:
    """The place of two images on each other, and their likeness; None if they share too little to tell.

    Parameters
    ----------
    first, second : ndarray, shape (h, w, c)
        Two images of the same shape.
    shift : ndarray of float, shape (2,), optional
        Row and column of the first image near which the corner of the second lies; if they are not known, phase
        correlation of the whole images tells.
    """
    cv2 = open_cv()
    one, other = _details(first), _details(second)
    rows, columns = (0, 0) if shift is None else np.rint(shift).astype(int).tolist()
    for _ in range(2):  # where they overlap, phase correlation is sharper
        parts = _common(one, other, rows, columns)
        if parts is None:
            return None
        height, width = (_evenly(length) for length in parts[0].shape)
        of_one, of_other = (np.ascontiguousarray(part[:height, :width]) for part in parts)
        (along, down), _ = cv2.phaseCorrelate(of_one, of_other, _window(of_one.shape))
        if max(abs(along), abs(down)) < 0.5:
            break
        rows, columns = rows - round(down), columns - round(along)
    return max(
        (each for each in (_likeness(one, other, *place) for place in {(0, 0), (rows, columns)}) if each is not None),
        key=lambda each: each.likeness,
        default=None,
    )


def _details(image: np.ndarray) -> np.ndarray:
    """The details of an image, without shapes, which can be alike in unlike images; evenly strong; float32, (h, w)."""
    cv2 = open_cv()
    grey = grey_of(image).astype(np.float32)
    details = cv2.GaussianBlur(grey, (0, 0), BLUR) - cv2.GaussianBlur(grey, (0, 0), SHAPES)
    strength = np.sqrt(cv2.GaussianBlur(details**2, (0, 0), SHAPES))
    return np.asarray(details / (strength + FLAT))


def _likeness(one: np.ndarray, other: np.ndarray, rows: int, columns: int) -> Overlap | None:
    parts = _common(one, other, rows, columns)
    if parts is None or min(part.std() for part in parts) < PLAIN:
        return None
    return Overlap(rows, columns, float(np.corrcoef(parts[0].ravel(), parts[1].ravel())[0, 1]))


def _common(one: np.ndarray, other: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The common part of two images, cut out of each; the corner of the other lies on a row and column of the one."""
    height, width = one.shape
    down, along = height - abs(rows), width - abs(columns)
    if min(down, along) < 2 or down * along < LEAST_OVERLAP * height * width:
        return None
    top, left = max(0, rows), max(0, columns)
    bottom, right = height + min(0, rows), width + min(0, columns)
    return one[top:bottom, left:right], other[top - rows : bottom - rows, left - columns : right - columns]


def _evenly(length: int) -> int:
    """The greatest length up to this one that OpenCV pads to an even one; of odd ones it misses the middle."""
    cv2 = open_cv()
    return next(each for each in range(length, 1, -1) if cv2.getOptimalDFTSize(each) % 2 == 0)


def _window(shape: tuple[int, ...]) -> Any:
    cv2 = open_cv()
    return cv2.createHanningWindow(shape[::-1], cv2.CV_32F)
