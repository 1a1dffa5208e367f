"""Read masks of classes: label images, palettes and colours, as Cityscapes, VOC, CamVid and LabelMe write them."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.datasets.shared.colors import (
    BLACK,
    color_of,
    default_color,
    number_of,
    packed,
    require_black_first,
    table_of,
    used_colors,
)
from stages.datasets.shared.decode import decode
from stages.datasets.shared.find import examine
from stages.datasets.shared.mask import BRIGHT, FEW_LABELS, MANY_LABELS, Seen, scale_of
from stages.datasets.shared.raster import Raster, one_channel, require_opaque
from stages.pairs.layout import IGNORED, PixelClass
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import MOST_CLASSES, DatasetParams

BACKGROUND = "background"
SHOWN = 5  # values that a line names
SAMPLE = 65536  # pixels that tell these, of those that stand for no class


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
        raster = _decode_labels(path, page)
        numbers = _numbers(path, raster, self.by_color)
        if self.by_color and raster.palette is None and raster.values.ndim == 2:
            # Labels among masks in colours would be background; a mask in colours that is black and white would not.
            known = {0, 0xFFFFFF, self.ignored, *(each.value for each in self.classes)}
            labels = [number for number in np.unique(numbers).tolist() if number not in known]
            if labels:
                raise self._unknown(path, labels)
        mask, seen = self.of(numbers, path)
        if not self.by_color and numbers.any():
            seen = seen._replace(kind=scale_of(raster))
        if raster.palette is not None and not self.by_color:
            if self.complete and self.ignored != 0:
                advice = "dataset.class_colors says which colours are the classes, dataset.mask_values which numbers"
                require_black_first(path, used_colors(raster), advice)
            held = [self.classes[int(place)].value for place in seen.values if place]
            colors = [color_of(packed(raster.palette[value])) for value in held]
            # Other numbers than its own belong to the background as well, which has the colour of 0, if of any.
            first = color_of(packed(raster.palette[0])) if self.ignored != 0 and (raster.values == 0).any() else ""
            palette = (first,) * (len(seen.values) - len(held)) + tuple(colors)
            seen = seen._replace(palette=palette, table=table_of(raster))
        return mask, seen

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
        others = numbers[~found]
        unnamed = tuple(np.unique(others[:: 1 + others.size // SAMPLE])[:SHOWN].tolist())
        seen = Seen(held, False, int(counts[1:IGNORED].sum()), mask.size, unnamed=unnamed, unnamed_pixels=others.size)
        return mask[:, :, None], seen

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
        names = [BACKGROUND if is_background(name) else name for name in options.classes]
        if BACKGROUND in names[1:]:
            named = options.classes[names.index(BACKGROUND, 1)]
            raise UserError(
                f"dataset.classes names {named!r}, which is the background, allowed in the first place alone"
            )
        told = options.mask_values
        if options.class_colors is not None:
            told = [number_of(color) for color in options.class_colors]
        first = [] if names[0] == BACKGROUND else [PixelClass(BACKGROUND, 0, BLACK)]
        values = told or range(len(first), len(first) + len(names))
        colors = options.class_colors or map(default_color, range(len(first), len(first) + len(names)))
        classes = [*first, *map(PixelClass, names, values, colors)]
        taken = next((each.name for each in classes if each.value == ignored and (each.value or not first)), None)
        if taken:
            raise UserError(
                f"dataset.ignore_value is {options.ignore_value!r}, which stands for {taken!r}; allowed is no class"
            )
    if ignored is not None and isinstance(options.ignore_value, str) != by_color:
        allowed = "a colour, as '#000000', since colours tell" if by_color else "a number, since values tell"
        raise UserError(f"dataset.ignore_value is {options.ignore_value!r}, allowed is {allowed} the classes apart")
    complete = options.mask_values is None and options.class_colors is None
    return ClassRule(classes, by_color, ignored, complete)


def is_background(name: str) -> bool:
    """Whether a class is called the background, as LabelMe's ``_background_`` is, too."""
    return name.strip("_ ").lower() == BACKGROUND


def _ignored(options: DatasetParams) -> int | None:
    value = options.ignore_value
    return number_of(value) if isinstance(value, str) else value


def _classes_of(masks: Sequence[tuple[Path, int]], ignored: int | None, strict: bool) -> tuple[bool, list[PixelClass]]:
    """Whether colours tell the classes of some masks apart, and the classes, in the order of their values."""
    pages = [(path, page) for path, count in masks for page in range(count)]
    looks = examine(lambda place: _look(*pages[place], ignored), len(pages))
    sound = [each for each in looks if not isinstance(each, UserError)]
    broken = [each for each in looks if isinstance(each, UserError)]
    if broken and (strict or not sound):
        raise broken[0]
    colors_of: dict[int, set[int | None]] = defaultdict(set)
    for look in sound:
        for value, color in look.colors.items():
            colors_of[value] |= {color} if look.has_palette else set()
    # Some programs give each file a palette of its own: then numbers mean nothing, and neither does one for white.
    by_color = (
        any(look.in_colors for look in sound)
        or any(len(colors) > 1 for colors in colors_of.values())
        or bool(colors_of[0] - {0})
    )
    if by_color:
        known = {0, 0xFFFFFF, ignored, *(each for look in sound if not look.is_grey for each in look.colors.values())}
        for (path, _), found in zip(pages, looks, strict=True):
            if isinstance(found, _Look) and found.is_grey and not known.issuperset(found.colors.values()):
                raise UserError(
                    f"{path}: labels in grey beside masks in colours; dataset.class_colors says which are classes"
                )
    numbers = {number for look in sound for number in (look.colors.values() if by_color else look.colors)}
    others = sorted(number for number in numbers if number is not None and number not in (0, ignored))
    if not others:
        raise UserError(f"dataset.classes is 'all', but no mask holds anything but 0, as {masks[0][0]}")
    if len(others) > MOST_CLASSES:
        raise UserError(
            f"dataset.classes is 'all', allowed are names of at most {MOST_CLASSES}: "
            f"the masks hold {len(others)} values"
        )
    named = []
    for place, each in enumerate(others, 1):
        color = each if by_color else next(iter(colors_of[each]), None)
        shown = default_color(place) if color is None else color_of(color)
        named.append(PixelClass(shown if by_color else str(each), each, shown))
    return by_color, [PixelClass(BACKGROUND, 0, BLACK), *named]


class _Look(NamedTuple):
    """What the pixels of a mask hold: values, and the number of the colour of each, None for grey of more than 8 bits.

    Of a mask in colours, the values are these numbers. One of a single channel without a palette is grey.
    """

    in_colors: bool
    is_grey: bool
    has_palette: bool
    colors: dict[int, int | None]


def _look(path: Path, page: int, ignored: int | None) -> _Look | UserError:
    try:
        raster = _decode_labels(path, page)
        in_colors = raster.palette is None and _is_in_colors(raster.values)
        numbers: list[int] = np.unique(_numbers(path, raster, in_colors)).tolist()
        others = [number for number in numbers if number not in (0, ignored)]
        to_white = others and others[-1] in BRIGHT | {raster.white} and not in_colors and raster.palette is None
        if len(others) > (FEW_LABELS if to_white else MANY_LABELS):
            raise UserError(
                f"{path}: holds {len(others)} values beside 0; is it an image, or are its edges smoothed? "
                "Names in dataset.classes, with dataset.mask_values or dataset.class_colors, say which are classes"
            )
    except UserError as error:
        return error
    if raster.palette is not None:
        return _Look(False, False, True, {each: packed(raster.palette[each]) for each in numbers})
    step = 0x010101 * (255 // raster.white) if raster.white <= 255 else None
    grey = {each: None if step is None else each * step for each in numbers}
    return _Look(in_colors, raster.values.ndim == 2, False, {each: each for each in numbers} if in_colors else grey)


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
            f"{path}: compressed with loss, which blurs the edges of classes, allowed are formats that keep values, as "
            "PNG"
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
        require_opaque(path, colors)
        if colors.ndim == 2:  # grey, of which fewer bits may be stored
            return colors.astype(np.int64) * (0x010101 * (255 // raster.white))
        red, green, blue = (colors[:, :, channel].astype(np.int64) for channel in range(3))
        return (red << 16) | (green << 8) | blue
    if _is_in_colors(values):
        raise UserError(
            f"{path}: a mask in colours; dataset.class_colors says which stand for the classes, dataset.classes=all "
            "takes those that there are"
        )
    labels = one_channel(path, values)
    if not (np.isfinite(labels).all() and (labels == np.rint(labels)).all()):
        raise UserError(f"{path}: values that are not whole numbers, allowed are those of classes")
    return labels.astype(np.int64)
