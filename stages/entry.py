"""How every stage starts and ends: one line for what a person has to change, outputs whole or not at all."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.errors import UserError


def run(stage: str, main: Callable[[], None]) -> None:
    """Run a stage; end the process with 1 and one line if a person has to change something, 130 if interrupted."""
    try:
        main()
    except UserError as error:
        sys.exit(f"{stage}: {error}{_what_dvc_removed()}")
    except OSError as error:
        sys.exit(f"{stage}: {error.filename or 'a file'}: {error.strerror or error}{_what_dvc_removed()}")
    except KeyboardInterrupt:
        print(f"{stage}: interrupted", file=sys.stderr)
        sys.exit(130)


@contextmanager
def whole(*targets: Path) -> Iterator[list[Path]]:
    """Paths to write to; they are moved to their targets once all of them are written.

    Parameters
    ----------
    *targets : Path
        Files or folders; what is there is replaced.

    Yields
    ------
    list of Path
        Where to write, beside each target. If writing fails, nothing of it is left.
    """
    partials = [target.with_name(f"{target.stem}.partial{target.suffix}") for target in targets]
    try:
        for partial in partials:
            partial.parent.mkdir(parents=True, exist_ok=True)
            _remove(partial)
        yield partials
        for partial in partials:
            partial.stat()  # one that was not written fails before any target is replaced
        for partial, target in zip(partials, targets, strict=True):
            _remove(target)
            partial.replace(target)
    finally:
        for partial in partials:
            _remove(partial)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write metrics: a number a key, readable by a person and by DVC."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _what_dvc_removed() -> str:
    """DVC deletes the outputs of a stage before it starts it."""
    if "DVC_STAGE" not in os.environ:
        return ""
    return "; outputs of an earlier run, which DVC removed: `dvc checkout`, and `git checkout metrics` if committed"
