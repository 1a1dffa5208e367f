"""Read masks of classes: label images, palettes and colours, as Cityscapes, VOC, CamVid and LabelMe write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.datasets.shared.decode import decode
from stages.datasets.shared.find import examine
from stages.datasets.shared.mask import Seen, one_channel
from stages.datasets.shared.raster import Raster
from stages.pairs.layout import IGNORED, PixelClass
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import DatasetParams

BACKGROUND = "background"
BLACK = "#000000"
# Colours that colour-blind people tell apart (Okabe & Ito, 2008); further classes have those of VOC's map.
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
MOST = IGNORED - 1  # classes beside the background
SHOWN = 5  # values that a line names


class ClassRule(NamedTuple):
    """Which values, or which colours, of a file stand for which class.

    Attributes
    ----------
    classes : sequence of PixelClass
        The background first; a colour's value is its number, red first.
    by_color : bool
        Whether colours tell them apart.
    ignored : int, optional
        The value, or the colour's number, of pixels that are `IGNORED`.
    complete : bool
        Whether any other value is an error; else it is background.
    """

    classes: Sequence[PixelClass]
    by_color: bool
    ignored: int | None
    complete: bool

    def read(self, path: Path, page: int = 0) -> tuple[np.ndarray, Seen]:
        """Read a mask of classes.

        Returns
        -------
        ndarray of uint8, shape (h, w, 1)
            Places in ``classes``, or `IGNORED`.
        Seen
            The classes that are in the file.

        Raises
        ------
        UserError
            If it is broken, of another kind, or holds values that stand for no class though all have to.
        """
        return self.of(_numbers(path, _decode_labels(path, page), self.by_color), path)

    def of(self, numbers: np.ndarray, path: Path) -> tuple[np.ndarray, Seen]:
        """The mask of what the pixels of a file hold, its values or the numbers of its colours, int64 (h, w)."""
        class_of = {each.value: place for place, each in enumerate(self.classes)}
        if self.ignored is not None:
            class_of[self.ignored] = IGNORED
        known = np.array(sorted(class_of), np.int64)
        places = np.searchsorted(known, numbers).clip(max=len(known) - 1)
        found = known[places] == numbers
        if self.complete and not found.all():
            raise self._unknown(path, np.unique(numbers[~found]).tolist())
        mask = np.where(found, np.array([class_of[number] for number in known.tolist()], np.uint8)[places], np.uint8(0))
        counts = np.bincount(mask.ravel(), minlength=IGNORED + 1)
        held = tuple(np.flatnonzero(counts[:IGNORED]).tolist())
        return mask[:, :, None], Seen(held, False, int(counts[1:IGNORED].sum()), mask.size)

    def _unknown(self, path: Path, numbers: Sequence[int]) -> UserError:
        named = [color_of(number) if self.by_color else str(number) for number in numbers]
        shown = ", ".join(named[:SHOWN]) + (", …" if len(named) > SHOWN else "")
        key = "class_colors" if self.by_color else "mask_values"
        return UserError(
            f"{path}: holds {shown}, for which dataset.classes has no name; dataset.{key} says what stands for each "
            "class and makes all else background, dataset.ignore_value leaves pixels out"
        )


def class_rule(options: DatasetParams, masks: Sequence[tuple[Path, int]]) -> ClassRule:
    """The rule that the parameters set.

    Parameters
    ----------
    options : DatasetParams
        ``classes``, ``mask_values``, ``class_colors`` and ``ignore_value`` are used.
    masks : sequence of (Path, int)
        Files and their numbers of pages; read only where all the classes that they hold are asked for.

    Raises
    ------
    UserError
        If ``ignore_value`` does not go with it, or the masks hold no classes, or too many.
    """
    assert options.classes is not None
    by_color, ignored = options.class_colors is not None, _ignored(options)
    if options.classes == "all":
        by_color, classes = _classes_of(masks, ignored, options.strict)
    else:
        names = [*options.classes]
        told = options.mask_values
        if options.class_colors is not None:
            told = [number_of(color) for color in options.class_colors]
        first = [] if names[0] == BACKGROUND else [PixelClass(BACKGROUND, 0, BLACK)]
        values = told or range(len(first), len(first) + len(names))
        colors = options.class_colors or map(default_color, range(len(first), len(first) + len(names)))
        classes = [*first, *map(PixelClass, names, values, colors)]
    if ignored is not None and isinstance(options.ignore_value, str) != by_color:
        allowed = "a colour, as '#000000', since colours tell" if by_color else "a number, since values tell"
        raise UserError(f"dataset.ignore_value is {options.ignore_value!r}, allowed is {allowed} the classes apart")
    complete = options.mask_values is None and options.class_colors is None
    return ClassRule(classes, by_color, ignored, complete)


def _ignored(options: DatasetParams) -> int | None:
    value = options.ignore_value
    return number_of(value) if isinstance(value, str) else value


def _classes_of(masks: Sequence[tuple[Path, int]], ignored: int | None, strict: bool) -> tuple[bool, list[PixelClass]]:
    """Whether colours tell the classes of some masks apart, and the classes, in the order of their values."""
    rasters = [(path, page) for path, pages in masks for page in range(pages)]
    found = examine(lambda place: _look(*rasters[place]), len(rasters))
    sound = [each for each in found if not isinstance(each, UserError)]
    broken = [each for each in found if isinstance(each, UserError)]
    if broken and (strict or not sound):
        raise broken[0]
    by_color = any(look.in_colors for look in sound)
    colors = {number: color for look in sound for number, color in look.colors.items()}
    numbers = {
        number for look in sound for number in ({*map(number_of, look.colors.values())} if by_color else look.colors)
    }
    others = sorted(numbers - {0, ignored})
    if not 0 < len(others) <= MOST:
        raise UserError(
            f"dataset.classes is 'all', allowed are names: the masks hold {len(others)} values beside 0, "
            f"as in {masks[0][0]}"
        )
    named = [
        PixelClass(color_of(each), each, color_of(each))
        if by_color
        else PixelClass(str(each), each, colors[each] or default_color(place))
        for place, each in enumerate(others, 1)
    ]
    return by_color, [PixelClass(BACKGROUND, 0, BLACK), *named]


class _Look(NamedTuple):
    """The values of a mask with their colours, empty for those of grey masks; or, of a mask in colours, these alone."""

    in_colors: bool
    colors: dict[int, str]


def _look(path: Path, page: int) -> _Look | UserError:
    try:
        raster = _decode_labels(path, page)
        in_colors = raster.palette is None and _is_in_colors(raster.values)
        numbers = np.unique(_numbers(path, raster, in_colors)).tolist()
    except UserError as error:
        return error
    if raster.palette is not None:
        return _Look(False, {number: "#" + bytes(raster.palette[number][:3].tolist()).hex() for number in numbers})
    return _Look(in_colors, {number: color_of(number) if in_colors else "" for number in numbers})


def _is_in_colors(values: np.ndarray) -> bool:
    return values.ndim == 3 and bool((values[:, :, 1:3] != values[:, :, :1]).any())


def _decode_labels(path: Path, page: int) -> Raster:
    """Decode a file whose values or colours stand for something.

    Raises
    ------
    UserError
        If it is broken, blurred or turned over.
    """
    raster = decode(path, page)
    if raster.lossy:
        raise UserError(
            f"{path}: a JPEG, which blurs the edges of classes, allowed are formats that keep values, as PNG"
        )
    if raster.inverted:
        raise UserError(f"{path}: white is 0 in it, allowed are values as they are stored")
    return raster


def _numbers(path: Path, raster: Raster, by_color: bool) -> np.ndarray:
    """What each pixel holds: its value, or the number of its colour; int64, shape (h, w)."""
    values = raster.values
    if by_color:
        if values.dtype != np.uint8:
            raise UserError(f"{path}: colours of {values.dtype}, allowed are those of 8 bits")
        colors = np.asarray(raster.palette)[values] if raster.palette is not None else values
        parts = [colors[:, :, channel] for channel in range(3)] if colors.ndim == 3 else [colors] * 3
        red, green, blue = (part.astype(np.int64) for part in parts)
        return (red << 16) | (green << 8) | blue
    if _is_in_colors(values):
        raise UserError(
            f"{path}: a mask in colours; dataset.class_colors says which stand for the classes, dataset.classes=all "
            "takes those that there are"
        )
    labels = one_channel(path, values)
    numbers = labels.astype(np.int64)
    if (numbers != labels).any():
        raise UserError(f"{path}: values that are not whole numbers, allowed are those of classes")
    return numbers


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
