"""A tally of what the masks of a set hold, and the faults that only all of them together show."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from stages.datasets.shared.classes import BACKGROUND, ClassRule, color_of
from stages.datasets.shared.find import warn
from stages.datasets.shared.mask import Rule, Seen
from stages.datasets.shared.tiles import TileSource
from stages.pairs.layout import IGNORED, Block, PixelClass
from stages.pipeline.errors import UserError

MOST = 0.98  # share of the files of a folder that may be without foreground, or without background
HALF = 0.5  # share of the pixels that seldom is mask
SHOWN = 12  # values that a line names
SCALED = {"1 bit", "2 bits", "4 bits"}  # greys of which white is the greatest number


@dataclass
class Tally:
    """Counts over some pairs, and what the files of their masks hold.

    Attributes
    ----------
    pairs, empty, full : int
        Pairs; those without foreground; those without background.
    foreground, pixels, ignored : int
        Pixels of masks, or of classes other than the background; all that count; those that are ignored.
    classes : dict of str to int
        Pixels of each class by its name; none for masks of 0 and 1.
    files : dict of str to Seen
        By the names of the files.
    """

    pairs: int = 0
    empty: int = 0
    full: int = 0
    foreground: int = 0
    pixels: int = 0
    ignored: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    files: dict[str, Seen] = field(default_factory=dict)

    @classmethod
    def of(cls, block: Block, files: dict[str, Seen], classes: Sequence[PixelClass] = ()) -> Self:
        """The tally of some pairs with masks."""
        masks = block.targets
        foreground, counted = (
            np.sum(kept, axis=(1, 2, 3), dtype=np.int64)
            for kept in ((masks > 0) & (masks != IGNORED), masks != IGNORED)
        )
        empty, full = foreground == 0, (foreground == counted) & (counted > 0)
        held = np.bincount(masks.ravel(), minlength=IGNORED + 1).tolist() if classes else []
        named = {each.name: held[place] for place, each in enumerate(classes)}
        pixels = int(counted.sum())
        return cls(
            pairs=len(masks),
            empty=int(empty.sum()),
            full=int(full.sum()),
            foreground=int(foreground.sum()),
            pixels=pixels,
            ignored=masks.size - pixels,
            classes=named,
            files=files,
        )

    def add(self, other: "Tally") -> None:
        """Count other pairs, too."""
        for name in ("pairs", "empty", "full", "foreground", "pixels", "ignored"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.classes |= {name: self.classes.get(name, 0) + count for name, count in other.classes.items()}
        self.files |= other.files

    def plain(self) -> dict[str, Any]:
        """It as JSON values."""
        return asdict(self)

    @classmethod
    def restored(cls, plain: Mapping[str, Any]) -> Self:
        """A tally from its `plain` values."""
        files = {name: Seen(*map(_as_tuple, seen)) for name, seen in plain["files"].items()}
        return cls(**{**plain, "files": files})

    def metrics(self) -> dict[str, Any]:
        """Figures for a metrics file."""
        if not (self.pixels or self.files):
            return {"pairs": self.pairs}
        counts = {"pairs": self.pairs, "empty": self.empty, "full": self.full}
        share = self.foreground / max(1, self.pixels)
        figures: dict[str, Any] = {**counts, "foreground": share}
        if self.classes:
            figures["ignored"] = self.ignored / max(1, self.pixels + self.ignored)
            figures["classes"] = {name: count / max(1, self.pixels) for name, count in self.classes.items()}
        if self.files:
            figures["masks"] = {
                "files": len(self.files),
                "empty": sum(not seen.foreground for seen in self.files.values()),
                "full": sum(seen.foreground == seen.pixels for seen in self.files.values()),
            }
        if self.files and not self.classes:
            values = Counter(value for seen in self.files.values() for value in seen.values)
            figures["masks"]["values"] = {f"{value:g}": count for value, count in sorted(values.items())[:SHOWN]}
        return figures


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def require_sense(source: TileSource, tally: Tally, item: str, strict: bool) -> None:
    """Refuse masks that make no sense together, or warn of them.

    Parameters
    ----------
    source : TileSource
        Where the pairs come from.
    tally : Tally
        Of all of them.
    item : {"train", "test"}
        The set.
    strict : bool
        Whether what may be meant so is an error as well.

    Raises
    ------
    UserError
        If masks of 0 and 1 stand beside black and white ones, or none has any of the named values; if ``strict``, also
        if a named value or class is in no mask, or nearly all of them are without foreground or without background.
        A warning in any case: most pixels are mask, or, with classes, none is background.
    """
    files, rule = tally.files, source.rule
    if source.classes or (isinstance(rule, Rule) and rule.told):
        _require_one_scale(files, bool(source.classes), strict)
    if source.classes:
        _require_classes(tally.classes, item, strict)
        _require_one_palette(files, range(1, len(source.classes)), strict)
        if not tally.classes.get(BACKGROUND, 1):
            held = ", ".join(name for name, pixels in tally.classes.items() if pixels)
            warn(f"no pixel of set {item} is background, as 0 or black in a file is; the classes in them are {held}")
        if isinstance(rule, ClassRule):
            _require_ignored(rule, tally.ignored, item, strict)
    elif isinstance(rule, Rule):
        if not rule.told:
            _require_one_kind(files)
            share = tally.foreground / max(1, tally.pixels)
            if HALF < share < MOST and any(seen.kind for seen in files.values()):  # masks that are files
                warn(f"{share:.0%} of the pixels of set {item} are mask; dataset.mask_values=[0] takes what is black")
        if rule.values is not None:
            _require_named(files, rule.values, item, strict)
            _require_one_palette(files, rule.values, strict)
    for what, count in (
        ("foreground", sum(not seen.foreground for seen in files.values())),
        ("background", sum(seen.foreground == seen.pixels for seen in files.values())),
    ):
        share = count / len(files) if files else 0
        if share > MOST and not (what == "background" and source.classes):  # whose scenes may be labelled throughout
            name = next(
                name for name, seen in files.items() if seen.foreground == (0 if what == "foreground" else seen.pixels)
            )
            held = f"the values in them are {_values_of(files)}"
            if source.classes:
                held = f"the classes in them are {', '.join(key for key, pixels in tally.classes.items() if pixels)}"
            line = f"{count} of {len(files)} masks of set {item} are without {what}, as {name}; {held}"
            _refuse(line, "; dataset.strict=false takes them so", strict)


def _refuse(line: str, way_out: str, strict: bool) -> None:
    """Raise an error that names the way out; or, if not ``strict``, warn of what is wrong."""
    if strict:
        raise UserError(line + way_out)
    warn(line)


def _require_classes(pixels: Mapping[str, int], item: str, strict: bool) -> None:
    """Refuse a class that no mask holds, or warn of it: it can be learnt from the pool alone."""
    missing = [name for name, count in pixels.items() if not count and name != BACKGROUND]
    if missing:
        held = ", ".join(name for name, count in pixels.items() if count)
        line = f"no mask of set {item} holds {', '.join(missing)}; the classes in them are {held}"
        _refuse(line, "; dataset.strict=false takes them so", strict and item == "train")


def _require_ignored(rule: ClassRule, pixels: int, item: str, strict: bool) -> None:
    """Refuse an ignored value that no mask holds, or warn of it: what it should be would be background."""
    if rule.ignored is not None and not pixels:
        value = color_of(rule.ignored) if rule.by_color else rule.ignored
        line = f"no mask of set {item} holds {value}, which dataset.ignore_value names"
        way_out = "; dataset.ignore_value=null does without, dataset.strict=false takes them so"
        _refuse(line, way_out, strict and item == "train")


def _require_one_palette(files: Mapping[str, Seen], values: Sequence[int], strict: bool) -> None:
    """Refuse values that have different colours in the palettes of two files, or warn of them."""
    first: dict[float, tuple[str, str]] = {}
    for name, seen in files.items():
        for value, color in zip(seen.values, seen.palette, strict=False):
            other, there = first.setdefault(value, (name, color))
            if color != there and value in values:
                line = (
                    f"{name}: a palette of its own, in which a class is {color} that is {there} in that of {other}; "
                    "dataset.class_colors tells classes apart by their colours"
                )
                _refuse(line, ", dataset.strict=false by their numbers", strict)
                return


def _require_one_kind(files: Mapping[str, Seen]) -> None:
    first: dict[str, str] = {}
    for name, seen in files.items():
        if seen.kind:
            first.setdefault(seen.kind, name)
    if len(first) > 1:
        (one, name), (other, second), *_ = first.items()
        values = dict.fromkeys(f"{files[each].values[-1]:g}" for each in (name, second))
        advice = " or ".join(f"dataset.mask_values=[{value}]" for value in values)
        both = " or both values in a list say" if len(values) > 1 else " says"
        raise UserError(f"{name}: the mask is {one} in it, but {other} in {second}; {advice}{both} what is the mask")


def _require_one_scale(files: Mapping[str, Seen], by_class: bool, strict: bool) -> None:
    """Refuse files of one scale that hold nothing of what those of another hold, or warn of them.

    As 1 in files of 1 bit and 255 in those of 8, which programs that make files small write for the same white.
    """
    held: dict[str, tuple[str, set[float]]] = {}
    for name, seen in files.items():
        if seen.kind:
            known = seen.values if by_class else [1.0]
            held.setdefault(seen.kind, (name, set()))[1].update(value for value in known if value and seen.foreground)
    for (one, (name, here)), (other, (second, there)) in itertools.combinations(held.items(), 2):
        if here.isdisjoint(there) or (by_class and {one, other} & SCALED):
            line = f"{name}: its values are of {one}, those of {second} of {other}; one number is two greys in them"
            _refuse(line, "; dataset.strict=false takes the numbers as they are", strict)
            return


def _require_named(files: Mapping[str, Seen], named: Sequence[int], item: str, strict: bool) -> None:
    found = {value for seen in files.values() for value in seen.values}
    missing = [value for value in named if value not in found]
    if missing and not any(seen.many for seen in files.values()):
        line = (
            f"dataset.mask_values names {', '.join(map(str, missing))}, which no mask of set {item} holds; "
            f"the values in {len(files)} masks are {_values_of(files)}"
        )
        if len({value for value in found if value}) == 1:
            line += "; dataset.mask_values=null takes what is not 0"
        _refuse(line, "", len(missing) == len(named) or (strict and item == "train"))
    for name, seen in files.items():
        colour = dict(zip(seen.values, seen.palette, strict=False)).get(0, "#000000")
        if 0 in named and colour != "#000000":
            warn(f"{name}: number 0 of its palette, which dataset.mask_values names, is not black there but {colour}")
            return


def _values_of(files: Mapping[str, Seen]) -> str:
    colours = {
        value: colour for seen in files.values() for value, colour in zip(seen.values, seen.palette, strict=False)
    }
    found = sorted({value for seen in files.values() for value in seen.values})
    named = [f"{value:g}" + (f" ({colours[value]})" if value in colours else "") for value in found[:SHOWN]]
    return ", ".join(named) + (", …" if len(found) > SHOWN else "")
