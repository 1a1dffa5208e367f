"""The table of a core: which rows of the pool it holds, and what was noted when each was chosen."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.errors import UserError
from stages.shards import read_file
from stages.store import Origins
from stages.strategies import Choice

HEADER = ["row", "order", "score", "epochs"]
ORIGIN = ["file", "top", "left"]
LEAK = ["first_set", "second_set", "second_row"]  # of a table of leaks what is read
LINE_BYTES = 4096  # most of a line: a path, and numbers that take less than a hundred
LEAKS_BYTES = 2**31 - 1  # most of a table of leaks, whose length no count limits


def with_origins(
    header: Sequence[str], lines: Sequence[Sequence[Any]], rows: Sequence[int] | np.ndarray, origins: Origins | None
) -> tuple[list[str], list[list[Any]]]:
    """A table of some rows with the file, top and left of each, if they come from files."""
    if origins is None:
        return [*header], [[*line] for line in lines]
    tiles = origins.tiles[np.asarray(rows, dtype=np.int64)].tolist()
    named = [[origins.files[file][0], top, left] for file, top, left in tiles]
    return [*header, *ORIGIN], [[*line, *origin] for line, origin in zip(lines, named, strict=True)]


def read_rows(path: Path, count: int, least: int = 1) -> np.ndarray:
    """The rows of a core, in the order of the table.

    Parameters
    ----------
    path : Path
        The table; of its columns ``row`` is read.
    count : int
        Pairs of the pool.
    least : int
        Fewest rows that it may hold.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    UserError
        If it is not such a table of rows below ``count``.
    """
    lines = _read(path, count, least)
    return np.array([int(line["row"]) for line in lines], dtype=np.int64)


def read_choices(path: Path, count: int) -> list[Choice]:
    """The core as it was chosen, with rows for positions; takes and raises what `read_rows` does."""
    lines = _read(path, count, 1)
    try:
        return [
            Choice(int(line["row"]), float(line["score"]) if line["score"] else None, int(line["epochs"]))
            for line in lines
        ]
    except (KeyError, ValueError) as error:
        raise _refusal(
            path, "a core", f"{type(error).__name__} {error}, expected the columns {', '.join(HEADER)}"
        ) from None


def read_scores(path: Path, count: int) -> dict[int, float | None]:
    """Rows and their scores, absent where there is none; takes and raises what `read_rows` does."""
    lines = _read(path, count, 0)
    try:
        return {int(line["row"]): float(line["score"]) if line["score"] else None for line in lines}
    except (KeyError, ValueError) as error:
        raise _refusal(path, "a core", f"{type(error).__name__} {error}, expected the columns row, score") from None


def read_leaks(path: Path, count: int) -> np.ndarray:
    """Rows of the test set that share an image with the pool, as stage ``audit`` found; ``count`` is that of the set.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    table = read_file(path, LEAKS_BYTES)
    try:
        across = [each for each in _lines(table, LEAK) if each[1]["first_set"] != each[1]["second_set"]]
        rows = {_row(line["second_row"], number, line, count) for number, line in across}
    except (ValueError, csv.Error) as error:
        raise _refusal(path, "leaks", error) from None
    return np.array(sorted(rows), dtype=np.int64)


def _read(path: Path, count: int, least: int) -> list[dict[str, str]]:
    try:
        return _rows(read_file(path, LINE_BYTES * (count + 1)), count, least)
    except (UserError, ValueError, csv.Error) as error:
        raise _refusal(path, "a core", error) from None


def _refusal(path: Path, what: str, reason: object) -> UserError:
    return UserError(f"{path}: not a table of {what}: {str(reason).removeprefix(f'{path}: ')}")


def _rows(table: bytes, count: int, least: int) -> list[dict[str, str]]:
    """The lines of a table whose column ``row`` names each row of the pool at most once."""
    found: list[dict[str, str]] = []
    stands: dict[int, int] = {}  # the line that each row stands in
    for number, line in _lines(table, ["row"]):
        row = _row(line["row"], number, line, count)
        if row in stands:
            raise ValueError(f"row {row} stands in line {stands[row]} and in line {number}")
        stands[row] = number
        found.append(line)
    if len(found) < least:
        raise ValueError("it holds no rows")
    return found


def _lines(table: bytes, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a table with their numbers; some columns have to be there."""
    lines = csv.reader(io.StringIO(table.decode("utf-8"), newline=""))
    header = next(lines, [])
    for column in columns:
        if header.count(column) != 1:
            raise ValueError(f"its first line has no column {column!r}, or more than one")
    for line in lines:
        if len(line) != len(header):
            raise ValueError(f"line {lines.line_num} holds {repr(line)[:80]}, expected {len(header)} columns")
        yield lines.line_num, dict(zip(header, line, strict=True))


def _row(text: str, number: int, line: dict[str, str], count: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < count):
        raise ValueError(
            f"line {number} holds {repr([*line.values()])[:80]}, "
            f"expected {len(line)} columns with a row from 0 to {count - 1}"
        )
    return int(text)
