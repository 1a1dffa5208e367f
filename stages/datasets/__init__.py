"""Sources of pairs, one file each; stages/choices.yaml lists them."""

from importlib import import_module
from typing import Protocol

from stages.datasets import tiles  # noqa: F401  what those of files share, so that dvc.yaml can name it for all
from stages.params import DatasetParams
from stages.store import Block, Layout, Origins


class Source(Protocol):
    """Where pairs come from; several processes draw from it."""

    @property
    def layout(self) -> Layout:
        """What the pairs look like."""
        ...

    @property
    def origins(self) -> Origins | None:
        """The files that they come from, if they come from files."""
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
