"""Read a mask from a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.datasets.shared.colors import is_black_and_white, is_grey, require_black_first, table_of, used_colors
from stages.datasets.shared.decode import decode
from stages.datasets.shared.raster import Raster, one_channel, require_opaque
from stages.pipeline.errors import UserError
from stages.pipeline.opencv import open_cv

BRIGHT = {1, 255, 65535}  # values of a mask of one class beside 0
LABELS = 256  # different values that are kept of a file
FEW_LABELS = 8  # more values up to white are the grey levels of smoothed edges, or of an image,
MANY_LABELS = 32  # and so are more than these
BLURRED = 16  # how far JPEG moves most values from black or white, at the most
BETWEEN = 64  # distance from black and white from which a value is neither
FEW = 0.25  # share of such values
SOLID = 5  # side of a square of such values that no edge has, but a third level,
EVEN = 8  # and so has one of any values beside black and white that differ by no more than this
GREYS = "a palette of greys"  # that are others than their numbers
SHOWN = 5  # numbers that a line names
NUMBERED = 0.9  # share of the numbers up to the greatest that an image of numbered objects has


class Rule(NamedTuple):
    """Which pixels of a file belong to the mask.

    Attributes
    ----------
    values : sequence of int, optional
        Those that have one of these values.
    threshold : float, optional
        Those above it. Without either, all that are not 0, of one class.
    """

    values: Sequence[int] | None = None
    threshold: float | None = None

    @property
    def told(self) -> bool:
        """Whether a parameter says which pixels they are."""
        return self.values is not None or self.threshold is not None

    def read(self, path: Path, page: int = 0) -> tuple[np.ndarray, "Seen"]:
        """Read a mask by this rule, see `read_mask`."""
        return read_mask(path, self, page)


ONE_CLASS = Rule()


class Seen(NamedTuple):
    """What the mask of a file holds.

    Attributes
    ----------
    values : tuple of int or float
        Its values, or the first of them; of a mask of classes their numbers.
    many : bool
        Whether there are more.
    foreground : int
        Pixels of the mask.
    pixels : int
        All of them.
    palette : tuple of str
        Colours of the values, where they are numbers of a palette.
    kind : str
        How a mask of one class tells it from 0: by "white", or by a value; where a rule says it, on which scale the
        file's values are, see `scale_of`. Empty where there is nothing but 0.
    lost : bool
        Whether none of the mask is left at the scale of the pairs.
    unnamed : tuple of int
        Of a mask of classes what stands for none and is background, the first values or numbers of colours.
    unnamed_pixels : int
        Pixels of these.
    inverted : bool
        Whether 0 is white in the file.
    table : int
        A checksum of its whole palette; 0 without one.
    """

    values: tuple[float, ...]
    many: bool
    foreground: int
    pixels: int
    palette: tuple[str, ...] = ()
    kind: str = ""
    lost: bool = False
    unnamed: tuple[int, ...] = ()
    unnamed_pixels: int = 0
    inverted: bool = False
    table: int = 0


def read_mask(path: Path, rule: Rule = ONE_CLASS, page: int = 0) -> tuple[np.ndarray, Seen]:
    """Read a mask: black and white, 0 and 1, or a label image; of one channel, or of several that are equal.

    Returns
    -------
    ndarray of uint8, shape (h, w, 1)
        0 and 1.
    Seen
        The values that are in the file.

    Raises
    ------
    UserError
        If it is broken, in colours, or of more than one class and no rule is given.
    """
    raster = decode(path, page)
    labels = one_channel(path, raster.values, raster.lossy)
    if not np.isfinite(labels).all():
        raise UserError(f"{path}: values that are not finite")
    by_colour = False
    if raster.palette is not None and rule.values is None:
        used = used_colors(raster)
        if raster.palette.shape[1] == 4:
            require_opaque(path, raster.palette[raster.values])
        if len(used) > 1 and len({*used.values()}) == 1:
            raise UserError(
                f"{path}: its palette shows the numbers {', '.join(map(str, list(used)[:5]))} in one colour; "
                f"dataset.mask_values=[{max(used)}] or a longer list goes by the numbers"
            )
        by_colour = is_black_and_white(used) or (rule.threshold is not None and is_grey(used))
        if not by_colour:
            _require_numbers(path, used, rule)
    if by_colour:
        labels = np.asarray(raster.palette)[:, 0][labels]
    values, many = _values(labels)
    kind = scale_of(raster) if rule.told and labels.any() else ""
    if rule.threshold is not None:
        mask = labels > rule.threshold
        if kind == GREYS:
            kind = "8 bits"
        if kind and raster.white > 1 and values[-1] == 1 and not many and not raster.lossy:
            kind = "0 and 1"
    elif rule.values is not None:
        if raster.lossy:
            advice = f"dataset.mask_threshold={_middle(labels)} takes what is brighter"
            if 0 in rule.values:
                advice = "allowed for what is dark are formats that keep values, as PNG"
            raise UserError(
                f"{path}: labels in a JPEG are blurred, which dataset.mask_values cannot tell apart; {advice}"
            )
        if raster.inverted and [*rule.values] != [0]:  # labels as they are stored, or as they are shown?
            raise UserError(
                f"{path}: white is 0 in it, allowed for dataset.mask_values is null, which takes what is shown in "
                "white, or [0], what is shown in black"
            )
        mask = np.isin(labels, rule.values)
    elif raster.lossy:
        _require_two_levels(path, labels)
        mask = labels > 127
        kind = "white" if mask.any() else ""
        values, many = tuple(value for value, there in ((0, not mask.all()), (255, mask.any())) if there), False
    else:
        kind = _kind(path, values, many, raster)
        mask = labels != 0
    palette: tuple[str, ...] = ()
    if raster.palette is not None and not by_colour:
        palette = tuple("#" + bytes(raster.palette[int(value)][:3].tolist()).hex() for value in values)
    return mask.astype(np.uint8)[:, :, None], Seen(
        values,
        many,
        int(mask.sum()),
        mask.size,
        palette,
        kind,
        inverted=raster.inverted,
        table=table_of(raster),
    )


def _values(labels: np.ndarray) -> tuple[tuple[float, ...], bool]:
    """The values that there are, and whether there are more than are kept."""
    if labels.dtype in (np.uint8, np.uint16):  # sorting takes ten times as long
        counts = np.iinfo(labels.dtype).max + 1
        found = np.flatnonzero(open_cv().calcHist([labels], [0], None, [counts], [0, counts])).tolist()
    else:
        found = np.unique(labels).tolist()
    return tuple(found[:LABELS]), len(found) > LABELS


def _require_numbers(path: Path, used: Mapping[int, tuple[int, ...]], rule: Rule) -> None:
    """Raise if the numbers of a palette's colours may not say what is mask: if 0 is not black, or by a threshold."""
    if rule.threshold is not None and rule.threshold >= 1:
        raise UserError(
            f"{path}: a palette of colours, whose numbers say nothing of brightness; dataset.mask_threshold=0 takes "
            "all but number 0 as the mask, dataset.mask_values=[1] or a longer list those that it names"
        )
    others = ",".join([str(number) for number in used if number][:SHOWN]) or "1"
    require_black_first(
        path,
        used,
        f"dataset.mask_values=[0] takes number 0 as the mask, dataset.mask_values=[{others}] or a longer list all but "
        "that, dataset.classes=all goes by the colours",
    )


def scale_of(raster: Raster) -> str:
    """The scale of a file's values, which says what number white has; empty for numbers of a palette's colours."""
    if raster.palette is not None:
        used = used_colors(raster)
        if is_black_and_white(used):
            return "a palette of black and white"
        return GREYS if is_grey(used) and any(number != color[0] for number, color in used.items()) else ""
    bits = int(raster.white).bit_length()
    return f"{bits} bit{'s' if bits > 1 else ''}"


def _kind(path: Path, values: Sequence[float], many: bool, raster: Raster) -> str:
    """How a mask of one class tells it from 0.

    Raises
    ------
    UserError
        If there are several.
    """
    others = [value for value in values if value]
    if not others:
        return ""
    if len(others) == 1 and others[0] in BRIGHT | {raster.white}:
        return "1" if others[0] == 1 and raster.white > 1 else "white"
    shown = ", ".join(f"{value:g}" for value in others[:5]) + (", …" if len(others) > 5 else "")
    to_white = others[-1] in BRIGHT | {raster.white}
    too_many = len(others) > (FEW_LABELS if to_white else MANY_LABELS)
    if too_many and raster.palette is not None:
        advice = "is it an image? Smoothed edges are read from masks in grey, without a palette"
    elif too_many and not to_white and len(others) >= NUMBERED * others[-1] > 1:
        advice = "are they the numbers of objects? dataset.mask_threshold=0 takes all of them as the mask"
    elif too_many or any(value != int(value) for value in others):
        advice = f"is it an image? dataset.mask_threshold={_middle(raster.values)} takes what is brighter as the mask"
    else:
        label = int(next((value for value in others if value > 0), others[0]))
        advice = (
            f"dataset.mask_values=[{label}] or a longer list says which of them are the mask, dataset.mask_threshold=0 "
            "takes all of them, dataset.classes=all makes a class of each"
        )
        ends = [sum(abs(value - end) <= BLURRED for value in others) for end in (0, raster.white)]
        was_jpeg = min(ends) > 1 and raster.white > 2 * BLURRED
        if to_white and raster.palette is None and (min(others) > MANY_LABELS or was_jpeg):
            why = "was it a JPEG?" if was_jpeg else "are its edges smoothed?"
            advice = f"{why} dataset.mask_threshold={_middle(raster.values)} takes what is brighter; {advice}"
    raise UserError(f"{path}: holds the values {shown}{' beside 0' if 0 in values else ''}; {advice}")


def _require_two_levels(path: Path, labels: np.ndarray) -> None:
    """Raise if a JPEG is not in black and white, as far as its compression leaves that."""
    distance = np.minimum(labels, 255 - labels)
    top = int(labels.max())
    if 0 < top < 256 - BETWEEN:
        raise UserError(
            f"{path}: a JPEG whose brightest value is {top}, allowed are black and white; "
            f"dataset.mask_threshold={top / 2:g} takes what is brighter as the mask"
        )
    between = (distance > BETWEEN).astype(np.uint8)
    square = np.ones((SOLID, SOLID), np.uint8)
    solid = open_cv().erode(between, square, borderValue=0)
    spread = open_cv().morphologyEx(labels, open_cv().MORPH_GRADIENT, square)
    even = (spread <= EVEN) & (distance > BLURRED)
    if np.median(distance) > BLURRED or between.mean() > FEW or solid.any() or even.any():
        raise UserError(
            f"{path}: a JPEG of many grey levels, allowed are black and white; is it an image? "
            f"dataset.mask_threshold={_middle(labels)} takes what is brighter as the mask"
        )


def _middle(labels: np.ndarray) -> str:
    """Half way between the least and the greatest value, as a parameter."""
    return f"{(float(labels.min()) + float(labels.max())) / 2:g}"
