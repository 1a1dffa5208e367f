"""Room on the disk, and the line for a disk that is full."""

import shutil
from pathlib import Path

from stages.pipeline.errors import UserError


def free_bytes(path: Path) -> int:
    """Bytes that are free on the disk of a file or folder, which need not be there yet."""
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def require_space(path: Path, needed: float) -> None:
    """Check that the disk has room before any work is done.

    Parameters
    ----------
    path : Path
        The file or folder to write.
    needed : float
        Bytes that it takes.

    Raises
    ------
    UserError
        If fewer are free.
    """
    free = free_bytes(path)
    if free < needed:
        raise UserError(
            f"{path}: {_megabytes(needed)} are needed on its disk, {_megabytes(free)} are free; make room and run "
            "the same command again"
        )


def cannot_write(error: OSError | str, needed: float | None, *paths: Path) -> UserError:
    """The line for outputs that could not be written, for example on a full disk.

    Parameters
    ----------
    error : OSError or str
        The reason.
    needed : float, optional
        Bytes that they take, where that is known.
    *paths : Path
        The outputs.
    """
    names, reason = ", ".join(map(str, paths)), getattr(error, "strerror", None) or error
    takes = "" if needed is None else f"it takes {_megabytes(needed)}, "
    free = _megabytes(free_bytes(paths[0]))
    return UserError(
        f"{names}: cannot be written: {reason}; {takes}{free} are free; once there is room, the same command goes on "
        "from the last checkpoint, if there is one"
    )


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"
