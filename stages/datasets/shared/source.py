"""A source of pairs, by its name."""

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

from stages.pairs.layout import Block, Layout, Origins, PixelClass
from stages.pipeline.params.sections import DatasetParams


class Source(Protocol):
    """A source of pairs; several processes draw from it."""

    @property
    def layout(self) -> Layout:
        """The layout of the pairs."""
        ...

    @property
    def origins(self) -> Origins | None:
        """The files that the pairs come from, if they come from files."""
        ...

    def draw(self, rows: range) -> Block:
        """The pairs of a range of rows; a row is the same pair in any range."""
        ...


def classes_of(source: Source) -> Sequence[PixelClass]:
    """The classes of pixels, the background first: the attribute ``classes`` of a source whose masks hold any."""
    found: Sequence[PixelClass] = getattr(source, "classes", ())
    return found


def open_source(options: DatasetParams, item: str) -> Source:
    """The source that the parameters name.

    Parameters
    ----------
    options : DatasetParams
        The data set's parameters, nulls replaced.
    item : {"train", "test"}
        The set that the pairs are for.
    """
    found: Source = import_module(f"stages.datasets.{options.name}").source(options, item)
    return found
