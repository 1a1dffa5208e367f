"""Outputs of earlier stages, read again; what is missing or damaged ends in a line that says how to have it back."""

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from stages.errors import UserError

Content = TypeVar("Content")


def read_output(path: Path, read: Callable[..., Content], *arguments: Any) -> Content:
    """What an earlier stage wrote.

    Parameters
    ----------
    path : Path
        The file.
    read : callable
        Takes the path and the arguments that follow; raises UserError if the file is damaged.

    Raises
    ------
    UserError
        If it is missing or damaged.
    """
    if not path.exists():
        raise UserError(f"{path}: missing; `dvc checkout {path}` or `dvc repro` brings it back")
    try:
        return read(path, *arguments)
    except UserError as error:
        raise UserError(f"{error}; `dvc checkout --force {path}` restores it") from None


def read_table(path: Path) -> list[dict[str, str]]:
    """The lines of a table with a header; takes part in `read_output`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            names, lines = table.fieldnames, list(table)
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(path, error) from None
    if not names or any(None in line or None in line.values() for line in lines):
        raise _damaged(path, "a line is shorter or longer than the first")
    return lines


def read_metrics(path: Path) -> dict[str, Any]:
    """The figures of a stage; takes part in `read_output`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    if not isinstance(values, dict):
        raise _damaged(path, "no figures by name")
    return values


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name; takes part in `read_output`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path}: damaged: {' '.join(str(why).split())}")
