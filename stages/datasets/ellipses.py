"""Ellipses in noise, with a rectangle or a triangle that is not to be found.

The background is noise of one brightness, the shapes noise of the other; every pixel and channel is drawn for
itself. The mask is the ellipse. Geometry and noise come from separate random streams of each row, so that a row
holds the same shapes whatever the dtype, and the same pixels whatever the size of the set.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stages.params import DatasetParams
from stages.store import Block, Layout

CHANNELS = 3
GEOMETRY, NOISE = 0, 1  # random streams
DRAWS_OF_A_ROW = 10  # of the geometry's stream, which holds the rows one after the other

# Dark noise takes 192 of the 256 values (0…191 of 255 is [0, .75]), bright noise the 192 from 64 upwards.
BRIGHTER: dict[str, np.uint8 | np.float32] = {"uint8": np.uint8(64), "float32": np.float32(0.25)}
DARK_RANGE = np.float32(0.75)


class Shapes(NamedTuple):
    """What is drawn on an image, in pixels.

    Attributes
    ----------
    bright_shapes : bool
        Whether the shapes are the brighter ones or the background.
    centre, radii : list of float
        Of the ellipse, row first.
    rotation : float
        Of the ellipse, in radians.
    corner, sides : list of int
        Of the interfering shape's bounding box: its least row and column, and how far the greatest lie from them.
    """

    bright_shapes: bool
    centre: list[float]
    radii: list[float]
    rotation: float
    corner: list[int]
    sides: list[int]


class Box(NamedTuple):
    """Rows ``top…bottom`` and columns ``left…right``, all inclusive."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Ellipses:
    """A source of pairs.

    Attributes
    ----------
    layout : Layout
        What the pairs look like.
    seed : int
        Of all random streams.
    radius_min, radius_max : float
        Range of the ellipse's radii; its centre keeps `radius_max` from the edges.
    interference : {"rectangle", "triangle", "none"}
        The shape that is drawn but not part of the mask.
    """

    layout: Layout
    seed: int
    radius_min: float
    radius_max: float
    interference: str

    def draw(self, rows: range) -> Block:
        """The pairs of a range of rows.

        Returns
        -------
        Block
            images (n, size, size, 3): uint8 in 0…191 (dark) and 64…255 (bright), or float32 in [0, .75) and
            [.25, 1); masks (n, size, size, 1) uint8, 1 within the ellipse.
        """
        images = np.empty((len(rows), *self.layout.image_shape), self.layout.dtype)
        masks = np.zeros((len(rows), *self.layout.mask_shape), np.uint8)
        brighter = np.empty(self.layout.image_shape, self.layout.dtype)
        for image, mask, row, shapes in zip(images, masks, rows, self.shapes(rows), strict=True):
            in_shape = self._draw_shapes(shapes, mask[:, :, 0])
            bright = in_shape if shapes.bright_shapes else 1 - in_shape
            bright = bright * BRIGHTER[self.layout.dtype]
            for channel in range(CHANNELS):  # broadcasting over a last axis of 3 is several times slower
                brighter[:, :, channel] = bright
            np.add(self._dark_noise(row), brighter, out=image)
        return Block(images, masks)

    def shapes(self, rows: range) -> list[Shapes]:
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
        columns = (bright, place[:, :2], radii, rotation, corner, sides)
        return [Shapes(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _draw_shapes(self, shapes: Shapes, mask: np.ndarray) -> np.ndarray:
        """Draw the ellipse into a mask of zeros; return a mask of both shapes."""
        size = mask.shape[0]
        box, inside = _ellipse(shapes, size)
        mask[box.top : box.bottom + 1, box.left : box.right + 1] = inside
        in_shape = mask.copy()
        if self.interference != "none":
            place = _push(_clip(_bounding_box(shapes), size), _extent(box, inside), shapes, size)
            _draw_interference(self.interference, place, shapes.sides, in_shape)
        return in_shape

    def _dark_noise(self, row: int) -> np.ndarray:
        stream = np.random.Generator(np.random.SFC64(np.random.SeedSequence((self.seed, NOISE, row))))
        shape = self.layout.image_shape
        if self.layout.dtype == "float32":
            return stream.random(shape, np.float32) * DARK_RANGE
        return _below_192(stream, int(np.prod(shape))).reshape(shape)


def source(options: DatasetParams, item: str) -> Ellipses:
    """The set ``item`` ("train" or "test") as the parameters describe it."""
    assert options.image_size is not None  # nulls are replaced
    count: int = getattr(options, f"{item}_count")
    seed: int = getattr(options, f"{item}_seed")
    layout = Layout(count, (options.image_size, options.image_size, CHANNELS), options.dtype)
    return Ellipses(layout, seed, options.radius_min, options.radius_max, options.interference)


# 192 = 3 · 64: six random bits for the low part, a digit of 0, 1, 2 for the high one. Sixteen random bits give
# eight such digits, if the value is below the largest multiple of 3⁸ that they hold.
_DIGITS = 3**8
_USABLE = np.uint16(2**16 - 2**16 % _DIGITS)
_HIGH_PARTS = np.array(
    [[number // 3**digit % 3 * 64 for digit in range(8)] for number in range(_DIGITS)], dtype=np.uint8
).view(np.uint64)[:, 0]
_LOW_BITS = np.uint64(0x3F3F3F3F3F3F3F3F)


def _below_192(stream: np.random.Generator, count: int) -> np.ndarray:
    """Random integers, uniform on 0…191: eight at a time, several times faster than `Generator.integers`.

    Returns
    -------
    ndarray of uint8, shape (count,)
    """
    words = -(-count // 8)
    low = stream.bit_generator.random_raw(words) & _LOW_BITS
    digits = _sixteen_bits(stream, words)
    unusable = np.flatnonzero(digits >= _USABLE)
    while unusable.size:
        digits[unusable] = _sixteen_bits(stream, unusable.size)
        unusable = unusable[digits[unusable] >= _USABLE]
    low |= _HIGH_PARTS.take(digits % np.uint16(_DIGITS))
    return low.astype("<u8", copy=False).view(np.uint8)[:count]


def _sixteen_bits(stream: np.random.Generator, count: int) -> np.ndarray:
    raw = stream.bit_generator.random_raw(-(-count // 4))
    return raw.astype("<u8", copy=False).view("<u2")[:count]


def _ellipse(shapes: Shapes, size: int) -> tuple[Box, np.ndarray]:
    """A box around the ellipse, and which of its pixels are nearer to the centre than the radii."""
    reach = max(shapes.radii)
    box = _clip(
        Box(
            top=int(np.ceil(shapes.centre[0] - reach)),
            bottom=int(shapes.centre[0] + reach),
            left=int(np.ceil(shapes.centre[1] - reach)),
            right=int(shapes.centre[1] + reach),
        ),
        size,
    )
    rows = np.arange(box.top, box.bottom + 1)[:, None] - shapes.centre[0]
    columns = np.arange(box.left, box.right + 1)[None, :] - shapes.centre[1]
    sine, cosine = np.sin(shapes.rotation), np.cos(shapes.rotation)
    along = (rows * (cosine / shapes.radii[0]) + columns * (sine / shapes.radii[0])) ** 2
    across = (rows * (sine / shapes.radii[1]) - columns * (cosine / shapes.radii[1])) ** 2
    return box, along + across < 1


def _extent(box: Box, inside: np.ndarray) -> Box:
    """The smallest box around the pixels that are inside."""
    rows = np.flatnonzero(inside.any(axis=1))
    columns = np.flatnonzero(inside.any(axis=0))
    return Box(box.top + int(rows[0]), box.top + int(rows[-1]), box.left + int(columns[0]), box.left + int(columns[-1]))


def _bounding_box(shapes: Shapes) -> Box:
    (top, left), (height, width) = shapes.corner, shapes.sides
    return Box(top, top + height, left, left + width)


def _clip(box: Box, size: int) -> Box:
    return Box(max(box.top, 0), min(box.bottom, size - 1), max(box.left, 0), min(box.right, size - 1))


def _push(clipped: Box, ellipse: Box, shapes: Shapes, size: int) -> Box:
    """Where the interfering shape's box goes: away from the ellipse if they share rows and columns.

    On each axis it moves by what they share, in the direction in which its own middle lies from the middle of what
    they share, and up and left where the two coincide.
    """
    box = _bounding_box(shapes)
    shared = Box(
        max(clipped.top, ellipse.top),
        min(clipped.bottom, ellipse.bottom),
        max(clipped.left, ellipse.left),
        min(clipped.right, ellipse.right),
    )
    rows, columns = shared.bottom - shared.top + 1, shared.right - shared.left + 1
    if rows <= 0 or columns <= 0:
        return box
    down = rows if clipped.top + clipped.bottom > shared.top + shared.bottom else -rows
    right = columns if clipped.left + clipped.right > shared.left + shared.right else -columns
    return Box(box.top + down, box.bottom + down, box.left + right, box.right + right)


def _draw_interference(kind: str, box: Box, sides: list[int], in_shape: np.ndarray) -> None:
    """Mark the pixels of the rectangle, or of the half of it below its diagonal."""
    place = _clip(box, in_shape.shape[0])
    target = in_shape[place.top : place.bottom + 1, place.left : place.right + 1]
    if kind == "rectangle":
        target[...] = 1
        return
    rows = np.arange(place.top, place.bottom + 1)[:, None] - box.top
    columns = np.arange(place.left, place.right + 1)[None, :] - box.left
    target |= columns * sides[0] <= rows * sides[1]
