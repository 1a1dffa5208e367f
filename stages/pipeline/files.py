"""Files of a stage: outputs written whole or not at all, and those of earlier stages read again."""

import errno
import hashlib
import json
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from stages.pipeline.disk import cannot_write
from stages.pipeline.errors import UserError
from stages.pipeline.locks import alone
from stages.pipeline.stores import version_of

PARTIAL = ".partial"  # ends the name of a file that is not yet whole
WRITE_BUFFER = 2**20
Content = TypeVar("Content")


def read_output(path: Path, read: Callable[..., Content], *arguments: Any) -> Content:
    """The content of a file that an earlier stage wrote.

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


def read_file(path: Path) -> bytes:
    """The content of a file.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from None


def cannot_read(path: Path, error: OSError) -> UserError:
    """The line for a file that cannot be opened or read."""
    return UserError(f"{path}: cannot be read: {error.strerror or error}")


def read_metrics(path: Path) -> dict[str, Any]:
    """The figures of a stage; a reader for `read_output`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged_output(path, error) from None
    if not isinstance(values, dict):
        raise damaged_output(path, "no figures by name")
    return values


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name; a reader for `read_output`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise damaged_output(path, error) from None


def damaged_output(path: Path, why: object) -> UserError:
    """The line for a file whose content is damaged."""
    return UserError(f"{path}: damaged: {' '.join(str(why).split())}")


@contextmanager
def atomic(*targets: Path) -> Iterator[list[Path]]:
    """Paths to write to; they are moved to their targets once all of them are written.

    Parameters
    ----------
    *targets : Path
        Files or folders; what is there is replaced.

    Yields
    ------
    list of Path
        A path beside each target, with its suffix. If writing fails, nothing of it is left.

    Raises
    ------
    UserError
        If another process is writing them, or the disk is full.
    """
    partials = [target.with_name(f"{target.stem}.partial{target.suffix}") for target in targets]
    for partial in partials:
        partial.parent.mkdir(parents=True, exist_ok=True)
    with alone(targets[0]):
        try:
            _remove(*partials)  # of a run that was killed
            yield partials
            for partial in partials:
                partial.stat()  # one that was not written fails before any target is replaced
            for partial, target in zip(partials, targets, strict=True):
                _remove(target)
                partial.replace(target)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise cannot_write(error, None, *targets) from None
            raise
        finally:
            _remove(*partials)


@contextmanager
def atomic_file(target: Path) -> Iterator[IO[bytes]]:
    """A file to write, which is moved to its target once it is written; its folder is made.

    No lock, and a name of its own each time: several processes may write the same, as does a worker that was given up
    for dead. What a killed one leaves ends in `PARTIAL`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    try:
        with partial.open("wb", buffering=WRITE_BUFFER) as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write metrics: a number a key, readable by a person and by DVC."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def digest(path: Path) -> str:
    """A digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_if_any(path: str) -> str:
    """A digest of a file's content; empty where there is none."""
    return digest(Path(path)) if Path(path).is_file() else ""


def stamp(folder: Path) -> str:
    """A digest of the names, sizes and times of all files in a folder, which is quicker than one of their content."""
    files = sorted((path.as_posix(), *version_of(path)) for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(repr(files).encode()).hexdigest()
