"""The table of a core: which rows of the pool it holds, and what was noted when each was chosen."""

import csv
import io
from collections.abc import Sequence
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
        raise _refusal(path, f"{type(error).__name__} {error}, expected the columns {', '.join(HEADER)}") from None


def read_scores(path: Path, count: int) -> dict[int, float | None]:
    """Rows and their scores, absent where there is none; takes and raises what `read_rows` does."""
    lines = _read(path, count, 0)
    try:
        return {int(line["row"]): float(line["score"]) if line["score"] else None for line in lines}
    except (KeyError, ValueError) as error:
        raise _refusal(path, f"{type(error).__name__} {error}, expected the columns row, score") from None


def read_leaks(path: Path, count: int) -> np.ndarray:
    """Rows of the test set that share an image with the pool, as stage ``audit`` found; ``count`` is that of the set.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            if not set(LEAK) <= set(table.fieldnames or ()):
                raise ValueError(f"expected the columns {', '.join(LEAK)}, …")
            lines = [line for line in table if line["first_set"] != line["second_set"]]
        if any(None in line.values() for line in lines):
            raise ValueError("a line ends too early")
        rows = sorted({int(line["second_row"]) for line in lines})
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a table of leaks: {type(error).__name__} {error}") from None
    if rows and not 0 <= rows[0] <= rows[-1] < count:
        raise UserError(f"{path}: names rows from {rows[0]} to {rows[-1]}, the test set has {count}")
    return np.array(rows, dtype=np.int64)


def _read(path: Path, count: int, least: int) -> list[dict[str, str]]:
    try:
        table = read_file(path, LINE_BYTES * (count + 1)).decode("utf-8")
        return _parse(table, count, least)
    except (UserError, ValueError, csv.Error) as error:
        raise _refusal(path, str(error).removeprefix(f"{path}: ")) from None


def _refusal(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: not a table of a core: {reason}")


def _parse(table: str, count: int, least: int) -> list[dict[str, str]]:
    lines = csv.reader(io.StringIO(table, newline=""))
    header = next(lines, [])
    if header.count("row") != 1:
        raise ValueError("its first line has no column 'row', or more than one")
    column = header.index("row")
    found: list[dict[str, str]] = []
    stands: dict[int, int] = {}  # the line that each row stands in
    for line in lines:
        text = line[column] if len(line) == len(header) else ""
        if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < count):
            raise ValueError(
                f"line {lines.line_num} holds {repr(line)[:80]}, expected {len(header)} columns "
                f"with a row from 0 to {count - 1}, those of the pool"
            )
        if int(text) in stands:
            raise ValueError(f"row {text} stands in line {stands[int(text)]} and in line {lines.line_num}")
        stands[int(text)] = lines.line_num
        found.append(dict(zip(header, line, strict=True)))
    if len(found) < least:
        raise ValueError("it holds no rows")
    return found
