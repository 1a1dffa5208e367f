"""A tally of what the pairs of a set hold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np

from stages.datasets.shared.mask import Seen
from stages.pairs.layout import IGNORED, Block, PixelClass

FLAT = 2 / 255  # share of the scale between black and white that no image keeps within
SHOWN = 12  # values that a line names


@dataclass
class Tally:
    """Counts over some pairs, and what the files of their masks hold.

    Attributes
    ----------
    pairs, empty, full, flat, blank : int
        Pairs; those without foreground; those without background; those from files whose images are next to one
        colour; those whose images are of one.
    white, values : int
        Values of images from files that are as bright as can be; all of them.
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
    flat: int = 0
    blank: int = 0
    white: int = 0
    values: int = 0
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
        white = 255 if block.images.dtype == np.uint8 else 1
        # In two steps: both at once would take a hundred times as long.
        extremes = block.images.max(axis=1).max(axis=1), block.images.min(axis=1).min(axis=1)
        spread = np.subtract(*extremes).max(axis=1) / white if files else np.ones(0)
        held = np.bincount(masks.ravel(), minlength=IGNORED + 1).tolist() if classes else []
        named = {each.name: held[place] for place, each in enumerate(classes)}
        pixels = int(counted.sum())
        return cls(
            pairs=len(masks),
            empty=int(empty.sum()),
            full=int(full.sum()),
            flat=int(((spread > 0) & (spread <= FLAT)).sum()),
            blank=int((spread == 0).sum()),
            white=int(np.count_nonzero(block.images == white)) if files else 0,
            values=block.images.size if files else 0,
            foreground=int(foreground.sum()),
            pixels=pixels,
            ignored=masks.size - pixels,
            classes=named,
            files=files,
        )

    def add(self, other: "Tally") -> None:
        """Count other pairs, too."""
        for count in fields(self):
            if count.type is int:
                setattr(self, count.name, getattr(self, count.name) + getattr(other, count.name))
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
        if self.files and self.classes:
            unnamed = sum(seen.unnamed_pixels for seen in self.files.values())
            figures["masks"]["unnamed"] = unnamed / sum(seen.pixels for seen in self.files.values())
        if self.files and not self.classes:
            values = Counter(value for seen in self.files.values() for value in seen.values)
            figures["masks"]["values"] = {f"{value:g}": count for value, count in sorted(values.items())[:SHOWN]}
        return figures


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
