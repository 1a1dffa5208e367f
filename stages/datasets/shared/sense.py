"""Faults of a set that only all of its pairs together show."""

import itertools
from collections.abc import Mapping, Sequence

from stages.datasets.shared.classes import BACKGROUND, ClassRule
from stages.datasets.shared.colors import BLACK, color_of
from stages.datasets.shared.find import refuse, warn
from stages.datasets.shared.mask import GREYS, Rule, Seen
from stages.datasets.shared.palettes import first_color, require_one_palette, warn_of_bright_first
from stages.datasets.shared.tally import SHOWN, Tally
from stages.datasets.shared.tiles import TileSource
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import DatasetParams

MOST = 0.98  # share of the files of a folder that may be without foreground, or without background
HALF = 0.5  # share of the pixels that seldom is mask
MANY = 0.25  # share of the images that seldom is next to one grey
SCALED = {"1 bit", "2 bits", "4 bits"}  # greys of which white is the greatest number


def require_sense(source: TileSource, tally: Tally, item: str, options: DatasetParams) -> None:
    """Refuse masks that make no sense together, or warn of them.

    Parameters
    ----------
    source : TileSource
        Where the pairs come from.
    tally : Tally
        Of all of them.
    item : {"train", "test"}
        The set.
    options : DatasetParams
        ``strict``, whether what may be meant so is an error as well, and ``classes`` are used.

    Raises
    ------
    UserError
        If masks of 0 and 1 stand beside black and white ones, or none has any of the named values; if ``strict``, also
        if a named value or class is in no mask, or nearly all of them are without foreground or without background.
        Warnings say what may be meant, as that most pixels are mask, or that labels are background.
    """
    files, rule, strict = tally.files, source.rule, options.strict
    if source.classes or (isinstance(rule, Rule) and rule.told):
        _require_one_scale(files, bool(source.classes), strict)
    if tally.flat > MANY * tally.pairs:
        warn(
            f"{tally.flat} of {tally.pairs} images of set {item} are next to one grey; dataset.value_range says which "
            "values are black and white, as [0,1]"
        )
    _require_shown(source, tally, item, strict)
    if source.classes:
        _require_classes(tally.classes, item, strict and options.classes != "all")
        require_one_palette(files, range(1, len(source.classes)), True, strict)
        warn_of_bright_first(files)
        if not tally.classes.get(BACKGROUND, 1):
            held = ", ".join(name for name, pixels in tally.classes.items() if pixels)
            warn(f"no pixel of set {item} is background, as 0 or black in a file is; the classes in them are {held}")
        if isinstance(rule, ClassRule):
            _require_ignored(rule, tally.ignored, item, strict)
            _warn_of_unnamed(rule, files, item)
    elif isinstance(rule, Rule):
        if not rule.told:
            _require_one_kind(files)
        inverted = [name for name, seen in files.items() if seen.inverted]
        share = tally.foreground / max(1, tally.pixels)
        if HALF < share < MOST and any(seen.kind for seen in files.values()):  # masks that are files
            black = "dataset.mask_values=[0], or [1] by a palette in which 0 is white, takes what is black"
            advice = "is the rest meant?" if rule.told else black
            warn(f"{share:.0%} of the pixels of set {item} are mask; {advice}")
        if inverted and rule.values is None:
            warn(
                f"{len(inverted)} of {len(files)} masks of set {item} say that 0 is white in them, as {inverted[0]}, "
                "and are taken as viewers show them; dataset.mask_values=[0] takes what is black"
            )
        if rule.values is not None:
            _require_named(files, rule.values, item, strict)
            require_one_palette(files, rule.values, False, strict)
            if 0 not in rule.values:
                warn_of_bright_first(files)
        if rule.threshold:
            _require_one_depth(files, strict)
        if rule.told:
            _warn_of_emptied(files, "mask_threshold" if rule.values is None else "mask_values", item)
    lost = [name for name, seen in files.items() if seen.lost]
    if lost:
        warn(f"{len(lost)} masks of set {item} lose all of their foreground when they are scaled, as {lost[0]}")
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
            refuse(line, "; dataset.strict=false takes them so", strict)


def _require_shown(source: TileSource, tally: Tally, item: str, strict: bool) -> None:
    """Refuse images that show nothing, or warn of them, and of a given range that most values are above."""
    if tally.blank == tally.pairs:
        line = f"no image of set {item} shows anything, each is of one colour"
        way_out = "; dataset.value_range says which values are black and white, dataset.strict=false takes them so"
        refuse(line, way_out, strict)
    elif source.values.given and tally.white > HALF * tally.values:
        low, high = source.values.given
        warn(
            f"{tally.white / tally.values:.0%} of the values of set {item} are {high:g} or above, which is white by "
            f"dataset.value_range=[{low:g},{high:g}]"
        )


def _warn_of_emptied(files: Mapping[str, Seen], key: str, item: str) -> None:
    """Warn of masks of one value beside 0 that a parameter does not take, as of 1 where 255 is asked for.

    Where masks hold several values, or these several, they are labels of which some are not asked for.
    """
    if not all(_has_one_value(seen) for seen in files.values() if any(seen.values)):
        return
    emptied = {name: sum(seen.values) for name, seen in files.items() if not seen.foreground and any(seen.values)}
    if len({*emptied.values()}) == 1:
        name, value = next(iter(emptied.items()))
        warn(
            f"{len(emptied)} of {len(files)} masks of set {item} hold {value:g} and nothing that dataset.{key} takes, "
            f"as {name}"
        )


def _has_one_value(seen: Seen) -> bool:
    """Whether a mask has one value beside 0."""
    return not seen.many and len([value for value in seen.values if value]) == 1


def _require_classes(pixels: Mapping[str, int], item: str, strict: bool) -> None:
    """Refuse a class that no mask holds, or warn of it: it can be learnt from the pool alone."""
    missing = [name for name, count in pixels.items() if not count and name != BACKGROUND]
    if missing:
        held = ", ".join(name for name, count in pixels.items() if count)
        line = f"no mask of set {item} holds {', '.join(missing)}; the classes in them are {held}"
        refuse(line, "; dataset.strict=false takes them so", strict and item == "train")


def _require_ignored(rule: ClassRule, pixels: int, item: str, strict: bool) -> None:
    """Refuse an ignored value that no mask holds, or warn of it: what it should be would be background."""
    if rule.ignored is not None and not pixels:
        value = color_of(rule.ignored) if rule.by_color else rule.ignored
        line = f"no mask of set {item} holds {value}, which dataset.ignore_value names"
        way_out = "; dataset.ignore_value=null does without, dataset.strict=false takes them so"
        refuse(line, way_out, strict and item == "train")


def _warn_of_unnamed(rule: ClassRule, files: Mapping[str, Seen], item: str) -> None:
    """Warn of what stands for no class and is taken as background: labels that nobody named, or edges."""
    odd = {name: seen for name, seen in files.items() if seen.unnamed}
    if odd:
        numbers = list(dict.fromkeys(number for seen in odd.values() for number in seen.unnamed))
        shown = ", ".join(color_of(each) if rule.by_color else str(each) for each in numbers[:SHOWN])
        share = sum(seen.unnamed_pixels for seen in odd.values()) / sum(seen.pixels for seen in files.values())
        more = ", …" if len(numbers) > SHOWN else ""
        warn(
            f"{len(odd)} of {len(files)} masks of set {item} hold {shown}{more}, for which no class stands and which "
            f"are background, as {next(iter(odd))}; they are {share:.2%} of the pixels"
        )


def _require_one_depth(files: Mapping[str, Seen], strict: bool) -> None:
    """Refuse grey levels on two scales, of which one threshold takes other shares, or warn of them."""
    depths = {seen.kind: name for name, seen in files.items() if seen.kind.endswith(("bit", "bits"))}
    if len(depths) > 1 and any(len(seen.values) > 2 for seen in files.values()):
        (one, name), (other, second), *_ = depths.items()
        line = f"{name}: its values are of {one}, those of {second} of {other}; one threshold is two greys in them"
        refuse(line, "; dataset.strict=false takes it so", strict)


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
        both = {one, other}
        if GREYS in both:  # two palettes are compared elsewhere
            differ = any(kind.endswith(("bit", "bits")) for kind in both)
        else:
            differ = here.isdisjoint(there) or (by_class and bool(both & SCALED))
        if differ:
            line = f"{name}: its values are of {one}, those of {second} of {other}; one number is two greys in them"
            if not by_class and all(map(_has_one_value, filter(lambda seen: seen.kind, files.values()))):
                line += "; dataset.mask_threshold=0 without dataset.mask_values takes what is not 0 in any"
            refuse(line, "; dataset.strict=false takes the numbers as they are", strict)
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
        refuse(line, "", len(missing) == len(named) or (strict and item == "train"))
    for name, seen in files.items():
        color = first_color(seen)
        if 0 in named and color != BLACK:
            warn(f"{name}: number 0 of its palette, which dataset.mask_values names, is not black there but {color}")
            return


def _values_of(files: Mapping[str, Seen]) -> str:
    colours = {
        value: colour for seen in files.values() for value, colour in zip(seen.values, seen.palette, strict=False)
    }
    found = sorted({value for seen in files.values() for value in seen.values})
    named = [f"{value:g}" + (f" ({colours[value]})" if value in colours else "") for value in found[:SHOWN]]
    return ", ".join(named) + (", …" if len(found) > SHOWN else "")
