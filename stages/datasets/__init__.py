"""Sources of pairs, one file each; stages/choices.yaml lists them."""

from importlib import import_module
from typing import Protocol

from stages.params import DatasetParams
from stages.store import Block, Layout


class Source(Protocol):
    """Where pairs come from; picklable, so that several processes can draw from it."""

    @property
    def layout(self) -> Layout:
        """What the pairs look like."""
        ...

    def draw(self, rows: range) -> Block:
        """The pairs of a range of rows; the same whatever range they are asked for in."""
        ...


def source(options: DatasetParams, item: str) -> Source:
    """The source that the parameters name.

    Parameters
    ----------
    options : DatasetParams
        The data set's parameters, nulls replaced.
    item : {"train", "test"}
        Which of the two sets.
    """
    found: Source = import_module(f"stages.datasets.{options.name}").source(options, item)
    return found
