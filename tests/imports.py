"""Which files of stages/ import which, read from their code."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path


def imported(file: Path, root: Path) -> set[Path]:
    """The files of stages/ that a file imports at its top or in a function, as paths below ``root``.

    An import by name (``import_module``) is left out: the file that it finds is a plug-in.
    """
    found = set()
    for node in ast.walk(_parsed(root / file)):
        if isinstance(node, ast.Import):
            found |= {_file(alias.name, root) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # Whether a name is a module of that package or stands in its file, the disk tells.
            found |= {_file(f"{node.module}.{alias.name}", root) or _file(node.module, root) for alias in node.names}
    return {path for path in found if path is not None and path.parts[0] == "stages"}


def closure(files: Iterable[Path], root: Path) -> set[Path]:
    """The files, with all that they import, directly or by others."""
    found: set[Path] = set()
    waiting = set(files)
    while waiting:
        file = waiting.pop()
        found.add(file)
        waiting |= imported(file, root) - found
    return found


def holds_code(file: Path) -> bool:
    """Whether a file holds more than a docstring."""
    body = _parsed(file).body
    return bool(body[1:] if ast.get_docstring(_parsed(file)) is not None else body)


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes(), file)


def _file(module: str, root: Path) -> Path | None:
    path = Path(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if (root / candidate).is_file()), None)
