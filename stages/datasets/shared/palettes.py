"""Palettes of the masks of a set, whose numbers have to mean the same in all of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from stages.datasets.shared.colors import BLACK, is_dark
from stages.datasets.shared.find import refuse, warn
from stages.datasets.shared.mask import Rule, Seen
from stages.datasets.shared.tally import Tally
from stages.datasets.shared.tiles import TileSource


def require_one_palette(files: Mapping[str, Seen], values: Sequence[int], by_class: bool, strict: bool) -> None:
    """Refuse values that have two colours in the palettes of two files, or a colour that has two values; or warn."""
    tables: dict[int, tuple[str, dict[float, str]]] = {}  # what is used of each palette, and its first file
    for name, seen in files.items():
        used = {value: color for value, color in zip(seen.values, seen.palette, strict=False) if color}
        tables.setdefault(seen.table, (name, {}))[1].update(used)
    colors: dict[float, tuple[str, str]] = {}
    numbers: dict[str, tuple[str, set[float]]] = {}
    for name, used in tables.values():
        line = ""
        of_color: dict[str, set[float]] = defaultdict(set)
        for value, color in used.items():
            other, there = colors.setdefault(value, (name, color))
            if color != there and (value in values or (not value and is_dark(color) != is_dark(there))):
                line = f"a class is {color} that is {there} in that of {other}"
            if value or not is_dark(color):  # black may be background, and a void number as well
                of_color[color].add(value)
        for color, here in of_color.items():
            other, those = numbers.setdefault(color, (name, here))
            asked = {value in values for value in here | those}
            if here.isdisjoint(those) and (len(asked) == 2 or (by_class and True in asked)):
                line = f"{color} is another number than in that of {other}"
        if line:
            advice = "dataset.classes=all, or names with dataset.class_colors, go by the colours"
            line = f"{name}: a palette of its own, in which {line}; {advice}"
            refuse(line, ", dataset.strict=false by the numbers", strict)
            return


def warn_of_bright_first(files: Mapping[str, Seen]) -> None:
    """Warn of number 0 of a palette, which is background by its number, if it is not dark."""
    for name, seen in files.items():
        color = first_color(seen)
        if not is_dark(color):
            warn(f"{name}: number 0 of its palette, which is background, is not black there but {color}")
            return


def first_color(seen: Seen) -> str:
    """The colour of number 0 in the palette of a file; black where it has none, or does not use it."""
    return dict(zip(seen.values, seen.palette, strict=False)).get(0) or BLACK


def named_colors(source: TileSource, tally: Tally) -> dict[str, str]:
    """The colours that palettes of its masks have for the labels that are asked for, or for its classes."""
    named = {place: each.name for place, each in enumerate(source.classes) if place}
    if isinstance(source.rule, Rule):
        named = {value: f"label {value}" for value in source.rule.values or ()}
    colors: dict[str, str] = {}
    for seen in tally.files.values():
        for value, color in zip(seen.values, seen.palette, strict=False):
            if value in named:
                colors.setdefault(named[int(value)], color)
    return colors
