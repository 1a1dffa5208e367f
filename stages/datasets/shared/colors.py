"""Colours: of palettes in files, and of classes."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stages.datasets.shared.raster import Raster
from stages.pipeline.errors import UserError

BLACK = "#000000"
DARK = 64  # greatest value of a colour that passes for black
# Colours that colour-blind people tell apart (Okabe & Ito, 2008); further classes have those of VOC's map.
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def used_colors(raster: Raster) -> dict[int, tuple[int, ...]]:
    """The colours of a palette that an image uses, by their numbers."""
    if raster.palette is None:
        return {}
    return {number: tuple(raster.palette[number, :3].tolist()) for number in np.unique(raster.values).tolist()}


def is_black_and_white(used: Mapping[int, tuple[int, ...]]) -> bool:
    """Tell whether an image with a palette is in black and white: then the colours count, and not their numbers."""
    return all(sum(colour) in (0, 3 * 255) for colour in used.values())


def table_of(raster: Raster) -> int:
    """A checksum of the whole palette of an image; 0 without one."""
    return 0 if raster.palette is None else zlib.crc32(raster.palette.tobytes())


def is_grey(used: Mapping[int, tuple[int, ...]]) -> bool:
    """Tell whether an image with a palette has no colours but greys."""
    return all(len(set(colour)) == 1 for colour in used.values())


def is_dark(color: str) -> bool:
    """Tell whether a colour as ``#400000`` passes for black."""
    return max(bytes.fromhex(color[1:])) <= DARK


def require_black_first(path: Path, used: Mapping[int, tuple[int, ...]], advice: str) -> None:
    """Raise if number 0 of a palette, which is to be the background, is not black, or another number is blacker."""
    brightest = max(used.get(0, (0,)))
    if brightest > DARK or any(max(colour) < brightest for colour in used.values()):
        black = next(
            (f" and number {number} black" for number, colour in used.items() if number and max(colour) <= DARK), ""
        )
        raise UserError(
            f"{path}: number 0 of its palette is #{bytes(used[0]).hex()}{black}: what is background? {advice}"
        )


def packed(color: np.ndarray) -> int:
    """The number of a colour, red first."""
    red, green, blue = color[:3].tolist()
    return int(red << 16 | green << 8 | blue)


def number_of(color: str) -> int:
    """The number of a colour as ``#ff8000``."""
    return int(color[1:], 16)


def color_of(number: int) -> str:
    """The colour of a number, as ``#ff8000``."""
    return f"#{number:06x}"


def default_color(place: int) -> str:
    """The colour that a class is drawn in where its file has none, by its place; the background has 0."""
    if place <= len(COLORS):
        return (BLACK, *COLORS)[place]
    bits = [[place >> (3 * step + channel) & 1 for step in range(8)] for channel in range(3)]
    return "#" + "".join(f"{sum(bit << (7 - step) for step, bit in enumerate(channel)):02x}" for channel in bits)
