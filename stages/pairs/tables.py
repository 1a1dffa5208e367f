"""Tables of rows as CSV files: the core, rejected pairs, scores, leaks."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from stages.pairs.layout import Origins
from stages.pipeline.errors import UserError
from stages.pipeline.files import cannot_read

HEADER = ["row", "order", "score", "epochs"]  # of the table of a core
ORIGIN = ["file", "top", "left", "page"]
LINES_AT_ONCE = 4096  # made of columns
Value = TypeVar("Value")


@dataclass
class Choice:
    """A pair of the core: its position in the pool, its score when it failed, the epochs or steps that followed.

    The seed pairs have no score.
    """

    position: int
    score: float | None
    epochs: int = 0


class Line(NamedTuple):
    """A line of a table: its file, its number there, and its texts by their columns."""

    path: Path
    number: int
    texts: dict[str, str]

    def value(self, column: str, read: Callable[[str], Value], allowed: str) -> Value:
        """The value in a column, read from its text.

        Parameters
        ----------
        column : str
            Its name.
        read : callable
            Takes the text; raises ValueError where it does not stand for a value.
        allowed : str
            The values that there are, for the line that is raised.

        Raises
        ------
        UserError
            If it cannot be read.
        """
        try:
            return read(self.texts[column])
        except ValueError:
            found = repr(self.texts[column])[:80]
            raise UserError(f"{self.path}: line {self.number}: {column} is {found}, allowed is {allowed}") from None

    def row(self, column: str, count: int) -> int:
        """The row of a set of ``count`` pairs that a column holds; raises like `value`."""

        def read(text: str) -> int:
            if not (text.isascii() and text.isdigit() and int(text) < count):
                raise ValueError
            return int(text)

        return self.value(column, read, f"a row from 0 to {count - 1}")

    def of_import(self, row: int, origins: Origins | None) -> int:
        """The row that the line names; raise UserError if the line says that its pair comes from elsewhere."""
        said = {column: self.texts[column] for column in ORIGIN if self.texts.get(column)}
        if origins is not None and said:
            file, *place = origins.tiles[row].tolist()
            found = dict(zip(ORIGIN, (origins.files[file][0], *map(str, place)), strict=True))
            if not all(
                text == found[column] or (column == "file" and found[column].endswith(f"/{text}"))  # without folders
                for column, text in said.items()
            ):
                raise UserError(
                    f"{self.path}: line {self.number}: row {row} is {_place_of(said)}, in the pool at hand it is "
                    f"{_place_of(found)}: the table is of another import"
                )
        return row

    def score(self) -> float | None:
        """The score, None where there is none; raises like `value`."""
        return self.value("score", lambda text: float(text) if text else None, "a number, or nothing")


def _place_of(values: Mapping[str, str]) -> str:
    return " ".join(values[column] for column in ORIGIN if column in values)


def read_lines(path: Path, *columns: str) -> Iterator[Line]:
    """The lines of a table below the first, which names its columns; read while they are used.

    Parameters
    ----------
    path : Path
        The table.
    *columns : str
        Columns that it must have; others may stand beside them.

    Raises
    ------
    UserError
        If it cannot be read, has no such column or two, or a line has more or fewer columns than the first.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets put a mark first
            lines = csv.reader(file)
            header = next(lines, [])
            if not header:
                raise UserError(f"{path}: first line '', expected the names of columns")
            for column in columns:
                if header.count(column) != 1:
                    found = ",".join(header)[:80]
                    raise UserError(f"{path}: first line {found!r}, expected a column {column!r}, and only one")
            for texts in lines:
                if len(texts) != len(header):
                    raise UserError(f"{path}: line {lines.line_num}: {len(texts)} columns, expected {len(header)}")
                yield Line(path, lines.line_num, dict(zip(header, texts, strict=True)))
    except OSError as error:
        raise cannot_read(path, error) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a table: {error}") from None


def read_table(path: Path, *columns: str, most: int | None = None) -> list[dict[str, str]]:
    """The first lines of a table, or all, as texts by their columns; the rest is as of `read_lines`."""
    return [line.texts for line in islice(read_lines(path, *columns), most)]


def read_rows(path: Path, count: int, least: int = 1, origins: Origins | None = None) -> np.ndarray:
    """The rows that a table names, in its order.

    Parameters
    ----------
    path : Path
        The table; of its columns ``row`` is read.
    count : int
        Pairs of the pool.
    least : int
        Fewest rows that it may hold.
    origins : Origins, optional
        Where the pairs come from, with which what the table says of it has to agree.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    UserError
        If it is not a table of rows below ``count``, names one of them twice, or is of another import.
    """
    rows = np.fromiter((line.of_import(row, origins) for row, line in _rows(path, count)), np.int64)
    if len(rows) < least:
        raise UserError(f"{path}: {len(rows)} rows, expected at least {least}")
    return rows


def read_choices(path: Path, count: int) -> list[Choice]:
    """The choices of a core, with rows for positions; the rest is as of `read_rows`, without origins."""
    return [
        Choice(row, line.score(), line.value("epochs", int, "a whole number"))
        for row, line in _rows(path, count, "score", "epochs")
    ]


def read_leaks(path: Path, count: int) -> np.ndarray:
    """Rows of the test set that share an image with the pool, as stage ``audit`` found; ``count`` is that of the set.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    lines = read_lines(path, "first_set", "second_set", "second_row")
    rows = {line.row("second_row", count) for line in lines if line.texts["first_set"] != line.texts["second_set"]}
    return np.array(sorted(rows), dtype=np.int64)


def _rows(path: Path, count: int, *columns: str) -> Iterator[tuple[int, Line]]:
    """The lines of a table that names each row of the pool at most once, and these rows."""
    line_of = np.zeros(count, np.int64)
    for line in read_lines(path, "row", *columns):
        row = line.row("row", count)
        if line_of[row]:
            raise UserError(f"{path}: row {row} stands in line {line_of[row]} and in line {line.number}")
        line_of[row] = line.number
        yield row, line


def with_origins(
    header: Sequence[str], lines: Iterable[Sequence[Any]], rows: Sequence[int] | np.ndarray, origins: Origins | None
) -> tuple[list[str], Iterable[Sequence[Any]]]:
    """A table of some rows with the file, top, left and page of each, if they come from files."""
    if origins is None:
        return [*header], lines
    tiles = lines_of(*origins.tiles[np.asarray(rows, dtype=np.int64)].T)
    named = ([origins.files[file][0], *place] for file, *place in tiles)
    return [*header, *ORIGIN], ([*line, *origin] for line, origin in zip(lines, named, strict=True))


def lines_of(*columns: np.ndarray) -> Iterator[tuple[Any, ...]]:
    """The lines of a table of some columns, made while they are used; NaN becomes None."""
    for start in range(0, len(columns[0]), LINES_AT_ONCE):
        block = (column[start : start + LINES_AT_ONCE].tolist() for column in columns)
        yield from zip(*([None if value != value else value for value in values] for values in block), strict=True)


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """Write a table; None is left empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(chain([header], lines))
