"""Ellipses in noise, with a rectangle or a triangle that does not belong to the mask.

The background is noise of one brightness, the shapes noise of the other; every pixel and channel is drawn for
itself. The mask is the ellipse; with classes it holds the other shape, too, where that is not over the ellipse.
Geometry and noise come from separate random streams of each row, so that a row holds the same shapes in both dtypes,
and the same pixels in sets of any size.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stages.datasets.shared.classes import BACKGROUND
from stages.datasets.shared.colors import default_color
from stages.pairs.layout import Block, Layout, PixelClass
from stages.pipeline.params.sections import DatasetParams

CHANNELS = 3
GEOMETRY, NOISE = 0, 1  # random streams
DRAWS_OF_A_ROW = 10  # of the geometry's stream, which holds the rows one after the other
PAIRS_AT_ONCE = 8  # enough to share numpy's overhead, few enough to stay in the cache

# Dark noise takes 192 of the 256 values (0…191 of 255 is [0, .75]), bright noise the 192 from 64 upwards.
BRIGHTER: dict[str, np.uint8 | np.float32] = {"uint8": np.uint8(64), "float32": np.float32(0.25)}
DARK_RANGE = np.float32(0.75)


class Shapes(NamedTuple):
    """The shapes on some images, in pixels; an array an attribute, an image an item.

    Attributes
    ----------
    bright_shapes : ndarray of bool, shape (n,)
        Whether the shapes are the brighter ones or the background.
    centre, radii : ndarray of float64, shape (n, 2)
        The ellipse's, row first.
    rotation : ndarray of float64, shape (n,)
        The ellipse's, in radians.
    corner, sides : ndarray of int64, shape (n, 2)
        The interfering shape's bounding box: its least row and column, and their distances to the greatest.
    """

    bright_shapes: np.ndarray
    centre: np.ndarray
    radii: np.ndarray
    rotation: np.ndarray
    corner: np.ndarray
    sides: np.ndarray


class Boxes(NamedTuple):
    """Rows ``top…bottom`` and columns ``left…right``, all inclusive; int64 of shape (n,) each."""

    top: np.ndarray
    bottom: np.ndarray
    left: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class Ellipses:
    """A source of pairs.

    Attributes
    ----------
    layout : Layout
        Of the pairs.
    seed : int
        Seed of all random streams.
    radius_min, radius_max : float
        Range of the ellipse's radii; its centre keeps `radius_max` from the edges.
    interference : {"rectangle", "triangle", "none"}
        The shape that is drawn but not part of the mask, unless it is a class.
    classes : sequence of PixelClass
        Background, ellipse and the other shape, if masks hold classes.
    """

    layout: Layout
    seed: int
    radius_min: float
    radius_max: float
    interference: str
    classes: Sequence[PixelClass] = ()
    origins: None = None

    def draw(self, rows: range) -> Block:
        """The pairs of a range of rows.

        Returns
        -------
        Block
            images (n, size, size, 3): uint8 in 0…191 (dark) and 64…255 (bright), or float32 in [0, .75) and
            [.25, 1); masks (n, size, size, 1) uint8, 1 within the ellipse, with classes 2 within the other shape.
        """
        images = np.empty((len(rows), *self.layout.image_shape), self.layout.dtype)
        masks = np.zeros((len(rows), *self.layout.target_shape), np.uint8)
        shapes = self.shapes(rows)
        for start in range(0, len(rows), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            bright = self._draw_shapes(Shapes(*(column[part] for column in shapes)), masks[part, :, :, 0])
            brighter = bright.view(np.uint8) * BRIGHTER[self.layout.dtype]
            np.add(self._dark_noise(rows[part]), brighter.reshape(images[part].shape), out=images[part])
        return Block(images, masks)

    def shapes(self, rows: range) -> Shapes:
        """The geometry of a range of rows, drawn as in the article.

        Centre, corner: uniform at `radius_max` from the edges; radii: uniform between their bounds; sides: from
        `radius_min` to twice `radius_max`. Corner and sides are rounded.
        """
        stream = np.random.PCG64(np.random.SeedSequence((self.seed, GEOMETRY)))
        stream.advance(rows.start * DRAWS_OF_A_ROW)
        draws = np.random.Generator(stream).random((len(rows), DRAWS_OF_A_ROW))
        place = draws[:, 0:4] * (self.layout.image_shape[0] - 2 * self.radius_max) + self.radius_max
        corner = np.rint(place[:, 2:4]).astype(int)
        radii = draws[:, 4:6] * (self.radius_max - self.radius_min) + self.radius_min
        sides = np.rint(draws[:, 6:8] * (2 * self.radius_max - self.radius_min) + self.radius_min).astype(int)
        rotation = draws[:, 8] * 2 * np.pi
        bright = draws[:, 9] >= 0.5
        return Shapes(bright, place[:, :2], radii, rotation, corner, sides)

    def _draw_shapes(self, shapes: Shapes, masks: np.ndarray) -> np.ndarray:
        """Draw the ellipses into masks of zeros.

        Returns
        -------
        ndarray of bool, shape (n, size, size · 3)
            Which values are bright. Rows of values, channels and all, are faster than a last axis of 3.
        """
        size = masks.shape[1]
        windows, inside = _ellipses(shapes, size)
        in_shape = np.zeros((len(masks), size, size * CHANNELS), bool)
        inside_values = np.repeat(inside, CHANNELS, axis=2)
        for pair, (top, bottom, left, right) in enumerate(_slices(windows)):
            masks[pair, top:bottom, left:right] = inside[pair]
            in_shape[pair, top:bottom, left * CHANNELS : right * CHANNELS] = inside_values[pair]
        if self.interference != "none":
            boxes = _push(_clip(_bounding_boxes(shapes), size), _extents(windows, inside), shapes)
            _draw_interference(self.interference, boxes, shapes.sides, in_shape)
        if self.classes:
            masks[(masks == 0) & in_shape[:, :, ::CHANNELS]] = 2
        in_shape ^= ~shapes.bright_shapes[:, None, None]
        return in_shape

    def _dark_noise(self, rows: range) -> np.ndarray:
        streams = [np.random.SFC64(np.random.SeedSequence((self.seed, NOISE, row))) for row in rows]
        shape = (len(rows), *self.layout.image_shape)
        if self.layout.dtype == "float32":
            noise = np.empty(shape, np.float32)
            for stream, out in zip(streams, noise, strict=True):
                np.random.Generator(stream).random(dtype=np.float32, out=out)
            return np.multiply(noise, DARK_RANGE, out=noise)
        return _below_192(streams, math.prod(self.layout.image_shape)).reshape(shape)


def source(options: DatasetParams, item: str) -> Ellipses:
    """The set ``item`` ("train" or "test") as the parameters describe it."""
    count: int = getattr(options, f"{item}_count")
    seed: int = getattr(options, f"{item}_seed")
    interference: str = getattr(options, f"{item}_interference") or options.interference
    classes = _classes(options) if options.classes else ()
    shape = (options.image_size, options.image_size, CHANNELS)
    layout = Layout.of_masks(count, shape, options.dtype, classes)
    return Ellipses(layout, seed, options.radius_min, options.radius_max, interference, classes)


def _classes(options: DatasetParams) -> list[PixelClass]:
    """The classes of either set; the other shape goes by one name, though the sets may have different ones."""
    names = (BACKGROUND, "ellipse", "other shape" if options.interference == "none" else options.interference)
    return [PixelClass(name, place, default_color(place)) for place, name in enumerate(names)]


# 192 = 3 · 64: six random bits for the low part, a digit of 0, 1, 2 for the high one. Sixteen random bits give
# eight such digits, if the value is below the largest multiple of 3⁸ that they hold.
_DIGITS = np.uint16(3**8)
_USABLE = np.uint16(2**16 - 2**16 % int(_DIGITS))
_HIGH_PARTS = np.array(
    [[number // 3**digit % 3 * 64 for digit in range(8)] for number in range(int(_DIGITS))], dtype=np.uint8
).view(np.uint64)[:, 0]
_LOW_BITS = np.uint64(0x3F3F3F3F3F3F3F3F)


def _below_192(streams: Sequence[np.random.BitGenerator], count: int) -> np.ndarray:
    """Random integers, uniform on 0…191: eight at a time, several times faster than `Generator.integers`.

    Returns
    -------
    ndarray of uint8, shape (n, count)
        A row of each stream.
    """
    words = -(-count // 8)
    low = np.empty((len(streams), words), np.uint64)
    digits = np.empty((len(streams), words), np.uint16)
    for stream, low_row, digits_row in zip(streams, low, digits, strict=True):
        np.bitwise_and(stream.random_raw(words), _LOW_BITS, out=low_row)
        digits_row[:] = _sixteen_bits(stream, words)
    unusable = np.flatnonzero(digits >= _USABLE)
    while unusable.size:
        counts = np.bincount(unusable // words, minlength=len(streams)).tolist()
        drawn = np.concatenate([_sixteen_bits(*each) for each in zip(streams, counts, strict=True)])
        digits.ravel()[unusable] = drawn
        unusable = unusable[drawn >= _USABLE]
    digits -= digits // _DIGITS * _DIGITS  # the remainder, which numpy computes several times slower
    low |= _HIGH_PARTS.take(digits, mode="clip")  # "clip" skips a check that nothing here can fail
    return low.astype("<u8", copy=False).view(np.uint8)[:, :count]


def _sixteen_bits(stream: np.random.BitGenerator, count: int) -> np.ndarray:
    raw = stream.random_raw(-(-count // 4))
    return raw.astype("<u8", copy=False).view("<u2")[:count]


def _ellipses(shapes: Shapes, size: int) -> tuple[Boxes, np.ndarray]:
    """Windows of one size, each around an ellipse, and which of their pixels are nearer to the centre than the radii.

    Returns
    -------
    Boxes
        The windows.
    ndarray of bool, shape (n, height, width)
        Their pixels.
    """
    reach = shapes.radii.max(axis=1, keepdims=True)
    length = min(size, int(2 * reach.max()) + 1)
    first = np.clip(np.ceil(shapes.centre - reach).astype(int), 0, size - length)
    top, left = first.T
    from_centre = first[:, :, None] + np.arange(length) - shapes.centre[:, :, None]
    rows, columns = from_centre[:, 0, :, None], from_centre[:, 1, None, :]
    turns = np.stack([np.sin(shapes.rotation), np.cos(shapes.rotation)])[..., None] / shapes.radii
    sine, cosine = turns[..., None, None]
    along = rows * cosine[:, 0] + columns * sine[:, 0]
    across = rows * sine[:, 1] - columns * cosine[:, 1]
    along *= along
    across *= across
    along += across
    return Boxes(top, top + length - 1, left, left + length - 1), along < 1


def _extents(windows: Boxes, inside: np.ndarray) -> Boxes:
    """The smallest boxes around the pixels that are inside."""
    rows, columns = (np.logical_or.reduce(inside, axis=axis) for axis in (2, 1))
    return Boxes(
        windows.top + rows.argmax(axis=1),
        windows.bottom - rows[:, ::-1].argmax(axis=1),
        windows.left + columns.argmax(axis=1),
        windows.right - columns[:, ::-1].argmax(axis=1),
    )


def _bounding_boxes(shapes: Shapes) -> Boxes:
    (top, left), (height, width) = shapes.corner.T, shapes.sides.T
    return Boxes(top, top + height, left, left + width)


def _clip(boxes: Boxes, size: int) -> Boxes:
    return Boxes(
        np.maximum(boxes.top, 0),
        np.minimum(boxes.bottom, size - 1),
        np.maximum(boxes.left, 0),
        np.minimum(boxes.right, size - 1),
    )


def _push(clipped: Boxes, ellipses: Boxes, shapes: Shapes) -> Boxes:
    """The interfering shapes' boxes, moved away from the ellipse if they share rows and columns with it.

    On each axis a box moves by the number of shared rows or columns, in the direction in which its own middle lies from
    theirs, and up and left where the two coincide.
    """
    boxes = _bounding_boxes(shapes)
    top, bottom = np.maximum(clipped.top, ellipses.top), np.minimum(clipped.bottom, ellipses.bottom)
    left, right = np.maximum(clipped.left, ellipses.left), np.minimum(clipped.right, ellipses.right)
    rows, columns = bottom - top + 1, right - left + 1
    meet = (rows > 0) & (columns > 0)
    down = meet * np.where(clipped.top + clipped.bottom > top + bottom, rows, -rows)
    to_right = meet * np.where(clipped.left + clipped.right > left + right, columns, -columns)
    return Boxes(boxes.top + down, boxes.bottom + down, boxes.left + to_right, boxes.right + to_right)


def _draw_interference(kind: str, boxes: Boxes, sides: np.ndarray, in_shape: np.ndarray) -> None:
    """Mark the values of the rectangles, or of the halves of them below their diagonals."""
    places = _clip(boxes, in_shape.shape[1])
    for pair, (top, bottom, left, right) in enumerate(_slices(places)):
        target = in_shape[pair, top:bottom, left * CHANNELS : right * CHANNELS]
        if kind == "rectangle":
            target[...] = True
        else:
            rows = np.arange(top, bottom)[:, None] - boxes.top[pair]
            columns = np.arange(left, right).repeat(CHANNELS) - boxes.left[pair]
            target |= columns * sides[pair, 0] <= rows * sides[pair, 1]


def _slices(boxes: Boxes) -> Iterator[tuple[int, int, int, int]]:
    """Start and stop of each box: rows, then columns."""
    stops = (boxes.top, boxes.bottom + 1, boxes.left, boxes.right + 1)
    return zip(*(stop.tolist() for stop in stops), strict=True)
