"""Definitions of studies: the runs that answer a question, and the table and the figure that show their results."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.pipeline.errors import UserError
from stages.pipeline.params.yaml import read_yaml

FILE = Path("stages/studies/studies.yaml")
TENTHS = [*range(1, 11), "at_random"]  # of a core, in the order in which its pairs joined
# The words of a reference to an earlier run: a file of its core, a share of its size, or its steps.
FILES = {"core": "core.csv", "folder": "", "used": "used.csv"} | {
    f"core but tenth {tenth}": f"but_{tenth}.csv" for tenth in TENTHS
}
SHARES = {"half the size": 0.5, "size": 1, "twice the size": 2}
REFERENCE = re.compile(rf"({'|'.join([*FILES, *SHARES, 'steps'])}) of ([\w.-]+)")
ROW_COLUMNS = ("shared", "first")  # columns of a table that compare the rows of cores


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Grid(_Section):
    """Runs with every combination of some values.

    Attributes
    ----------
    name, line : str
        Name of a run, after that of its study, and its line in the table. Both may hold ``{key}``, the last part of the
        key of a parameter in ``over``, or of a word in ``for``.
    common : list of str
        Names of changes that these runs share with others, beside those of their study.
    over : dict
        Values of each parameter. Parameters that are written together, with commas, change together.
    with_ : dict
        Parameters that are the same in all runs.
    for_ : dict
        Values of words; the grid is repeated for each.
    """

    name: str
    line: str = ""
    common: list[str] = []
    over: dict[str, list[Any]] = {}
    with_: dict[str, Any] = Field({}, alias="with")
    for_: dict[str, list[Any]] = Field({}, alias="for")


class Table(_Section):
    """The table of a study.

    Attributes
    ----------
    rows : dict of str
        By heading: parameters that tell lines apart, or ``line``.
    columns : dict of str
        By heading: metrics as ``evaluate.test.score``, or computed columns, see `tables.COMPUTED`.
    total : bool
        Whether a last line is of all runs.
    """

    rows: dict[str, str]
    columns: dict[str, str]
    total: bool = False


class Figure(_Section):
    """The heat map of a study: the mean of a metric by the parameters of its rows and columns."""

    title: str
    rows: dict[str, str]
    columns: dict[str, str]
    value: str


class Study(_Section):
    """A question, the names of shared changes, the grids of runs that answer it, and the way to show their results.

    Its figure is a heat map, or shows the means of a column of its table with their ``intervals``.
    """

    asks: str
    common: list[str]
    grids: list[Grid]
    table: Table
    figure: Figure | None = None
    intervals: str | None = None


class Definitions(_Section):
    """All studies by name, and the changes of parameters that they share, by name as well."""

    common: dict[str, dict[str, Any]]
    studies: dict[str, Study]

    def runs(self) -> dict[str, "Run"]:
        """The runs of all studies by name."""
        return {run.name: run for name, study in self.studies.items() for run in runs_of(name, study, self.common)}


class Reference(NamedTuple):
    """A parameter's reference to a result of an earlier run, written ``WORDS of RUN``."""

    words: str
    run: str


class Run(NamedTuple):
    """An experiment of a study: its line in the table, and the parameters that it changes by their dotted keys.

    `keeps_rows` says whether the table needs the rows of its core.
    """

    name: str
    study: str
    line: str
    changes: dict[str, Any]
    keeps_rows: bool = False

    @property
    def needs(self) -> set[str]:
        """Names of the runs that its parameters refer to."""
        return {reference.run for reference in map(reference_in, self.changes.values()) if reference}

    @property
    def needs_cores(self) -> set[str]:
        """Names of those of which it needs files, and not their size or steps alone."""
        found = map(reference_in, self.changes.values())
        return {reference.run for reference in found if reference and reference.words in FILES}


def read_definitions() -> Definitions:
    """Read ``stages/studies/studies.yaml``.

    Raises
    ------
    UserError
        If the file is missing, or an entry is unknown, missing or of the wrong type.
    """
    try:
        return Definitions.model_validate(read_yaml(FILE))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{FILE}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def reference_in(value: Any) -> Reference | None:
    """The reference that a value of a parameter is, if it is one."""
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return Reference(*match.groups()) if match else None


def runs_of(name: str, study: Study, common: Mapping[str, Mapping[str, Any]]) -> Iterator[Run]:
    """Expand the grids of a study.

    Parameters
    ----------
    name : str
        Name of the study; those of its runs begin with it.
    study : Study
    common : mapping
        Shared changes by name.

    Yields
    ------
    Run
        One for each combination of values of each grid.
    """
    keeps_rows = any(column.split()[0] in ROW_COLUMNS for column in study.table.columns.values())
    for grid in study.grids:
        shared = {key: value for part in [*study.common, *grid.common] for key, value in common[part].items()}
        for over, repeated in itertools.product(_combinations(grid.over), _combinations(grid.for_)):
            words = {**repeated, **{key.split(".")[-1]: value for key, value in over.items()}}
            changes = {**shared, **grid.with_, **over}
            filled = {key: value.format(**words) if isinstance(value, str) else value for key, value in changes.items()}
            yield Run(f"{name}-{grid.name.format(**words)}", name, grid.line.format(**words), filled, keeps_rows)


def _combinations(values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of some keys; keys with commas between them take a list of values at once."""
    for combination in itertools.product(*values.values()):
        found: dict[str, Any] = {}
        for keys, value in zip(values, combination, strict=True):
            together = keys.split(", ")
            found |= zip(together, value if len(together) > 1 else [value], strict=True)
        yield found
