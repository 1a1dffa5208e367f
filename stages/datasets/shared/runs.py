"""Objects in an image as COCO's compressed runs: encode polygons, check runs, paint masks.

Counts say how many pixels are outside and inside of an object by turns, column by column from the top left; the first
may be 0. Compressed, from the fourth on each is the difference from the last but one, in digits of 5 bits, the least
first, plus 48. https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from pycocotools import mask as cocoapi

from stages.pairs.layout import IGNORED
from stages.pipeline.errors import UserError

# Digits that others follow have a bit more: P to o. COCO's own reader runs over the end where the last one is such.
COMPRESSED = re.compile(r"(?:[P-o]{0,5}[0-O])+")
Painted = Sequence[tuple[int, bytes]]  # values and runs of objects, of which later ones lie on top
APART, APART_SHARE = 3, 0.25  # pixels, or share of a side, between the corners of an object's box and its pixels
FEW_PIXELS, AREA_SHARE = 10, 0.2  # that the area of an object may be off by, since its edge goes through pixels
ROUNDED = 0.01  # share that an area may be off the product of its sides by
FAR = 1e9  # pixels, farther than any image reaches
NO_SEGMENTATION = "no segmentation; boxes (bbox) make no masks, allowed are polygons and run-length encodings"


def encode(segmentation: Any, height: int, width: int) -> tuple[bytes, bool]:
    """The pixels of an object as compressed runs, and whether it reaches out of the image.

    A pixel belongs to a polygon if its centre is inside; that of the first is at x = y = 0.5. COCO's code rounds to
    fifths of a pixel, so less than a third of a pixel from an edge it may be otherwise.

    Parameters
    ----------
    segmentation : object
        As a file has it: a list of polygons [x, y, x, y, …], of which the union is meant, or runs.
    height, width : int
        Size of the image, in pixels.

    Raises
    ------
    UserError
        Says how it is malformed.
    """
    if isinstance(segmentation, dict):
        runs = {"size": [height, width], "counts": _counts(segmentation, height, width)}
        return bytes(cocoapi.frPyObjects(runs, height, width)["counts"]), False
    if not segmentation:
        raise UserError(NO_SEGMENTATION)
    if not isinstance(segmentation, list):
        raise UserError(f"the segmentation is {shown(segmentation)}, allowed are a list of polygons, or runs")
    polygons = [_polygon(part, height, width) for part in segmentation]
    clipped = any(bool(((part < 0) | (part > (width, height))).any()) for part in polygons)
    parts = cocoapi.frPyObjects([part.ravel() for part in polygons], height, width)
    return bytes(cocoapi.merge(parts)["counts"]), clipped


def counts_of(runs: bytes) -> np.ndarray:
    """The counts that compressed runs stand for; int64, shape (n,)."""
    digits = np.frombuffer(runs, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(digits < 32) + 1
    starts = np.concatenate([[0], ends[:-1]])
    places = np.arange(len(digits)) - np.repeat(starts, ends - starts)
    counts = np.add.reduceat((digits & 31) << (5 * places), starts)
    counts -= ((digits[ends - 1] & 16) << 1) << (5 * (ends - 1 - starts))  # two's complement
    for every in (counts[1::2], counts[2::2]):
        every[:] = np.cumsum(every)
    return counts


def count_pixels(objects: Sequence[bytes], height: int, width: int) -> int:
    """The number of pixels of an image that one or more objects cover."""
    return int(cocoapi.area(cocoapi.merge([{"size": [height, width], "counts": runs} for runs in objects])))


def lies_elsewhere(runs: bytes, box: Any, height: int, width: int) -> bool:
    """Whether an object lies elsewhere than its box says, if that is one: [x, y, width, height]."""
    sides = _sides_of(box)
    if not sides or min(sides[2:]) <= 0:
        return False
    x, y, across, down = sides
    left, top, wide, high = cocoapi.toBbox({"size": [height, width], "counts": runs}).tolist()
    apart = max(abs(x - left), abs(y - top), abs(x + across - left - wide), abs(y + down - top - high))
    return bool(apart > max(APART, APART_SHARE * across, APART_SHARE * down))


def has_other_area(runs: bytes, area: Any, box: Any, height: int, width: int) -> bool:
    """Whether an object has clearly more or fewer pixels than it says; the area of its box says nothing."""
    if type(area) not in (int, float) or not 0 < area < FAR:
        return False
    sides = _sides_of(box)
    if sides and math.isclose(area, sides[2] * sides[3], rel_tol=ROUNDED):
        return False
    return bool(abs(count_pixels([runs], height, width) - area) > max(FEW_PIXELS, AREA_SHARE * area))


def _sides_of(box: Any) -> list[float] | None:
    """The numbers of a box, [x, y, width, height], if it is one; as whole numbers they can be too large for a float."""
    if not (isinstance(box, list) and len(box) == 4 and set(map(type, box)) <= {int, float}):
        return None
    return [float(min(max(number, -FAR), FAR)) for number in box]


def overlap(objects: Painted, height: int, width: int) -> bool:
    """Whether objects of different classes share pixels; the background is none, nor is what is ignored."""
    runs_of: dict[int, list[bytes]] = defaultdict(list)
    for value, runs in objects:
        if value not in (0, IGNORED):
            runs_of[value].append(runs)
    if len(runs_of) < 2:
        return False
    apart = sum(count_pixels(each, height, width) for each in runs_of.values())
    return apart > count_pixels([*chain(*runs_of.values())], height, width)


def mask_of(objects: Painted, height: int, width: int) -> np.ndarray:
    """The mask that some objects make, of which later ones lie on top.

    Parameters
    ----------
    objects : sequence of (int, bytes)
        The value of each object's pixels, up to 255, and its compressed runs.
    height, width : int
        Size of the image, in pixels.

    Returns
    -------
    ndarray of uint8, shape (height, width, 1)
        Those values, and 0 elsewhere.
    """
    mask = np.zeros(height * width, np.uint8)
    for value, runs in objects:
        ends = np.cumsum(counts_of(runs))
        for start, end in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=False):  # the last may be outside
            mask[start:end] = value
    return np.ascontiguousarray(mask.reshape(width, height).T)[:, :, None]


def shown(value: Any) -> str:
    """The beginning of a value from a file, in printable characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _counts(runs: Mapping[str, Any], height: int, width: int) -> list[int]:
    size, given = runs.get("size"), runs.get("counts")
    if size != [height, width]:
        raise UserError(f"runs of size {shown(size)}, its image has [{height}, {width}]")
    if isinstance(given, str) and COMPRESSED.fullmatch(given):
        counts: list[int] = counts_of(given.encode()).tolist()
    elif isinstance(given, list) and set(map(type, given)) <= {int}:
        counts = given
    else:
        raise UserError(f"counts of runs are {shown(given)}, allowed are whole numbers, or these compressed")
    if min(counts, default=0) < 0:
        raise UserError(f"counts of runs hold {shown(min(counts))}, allowed are 0 and more")
    if sum(counts) != height * width:
        raise UserError(f"counts of runs make {shown(sum(counts))} pixels, its image has {height * width}")
    return counts


def _polygon(part: Any, height: int, width: int) -> np.ndarray:
    """The points of a polygon, x and y; float64, shape (n, 2)."""
    if not (isinstance(part, list) and set(map(type, part)) <= {int, float}):
        raise UserError(f"a polygon is {shown(part)}, allowed is a list of numbers")
    if len(part) % 2 or len(part) < 6:
        raise UserError(f"a polygon of {len(part)} numbers, allowed are x and y of 3 points or more")
    side = max(height, width)  # what is much farther away costs COCO's code as much memory
    far = next((number for number in part if not -side <= number <= 2 * side), None)
    if far is not None:
        raise UserError(f"a polygon with a coordinate of {shown(far)}, its image has {height}×{width} pixels")
    return np.array(part, np.float64).reshape(-1, 2)
