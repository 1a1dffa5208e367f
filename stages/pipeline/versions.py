"""Versions of the code and of the packages that decide on results."""

import hashlib
import importlib.metadata
import sys
from functools import cache
from pathlib import Path

from stages.pipeline.errors import UserError
from stages.pipeline.files import digest

# Those that compute, and those that read, scale and write what is computed on.
PACKAGES = (
    "numpy",
    "keras",
    "tensorflow",
    "zarr",
    "numcodecs",
    "opencv-python-headless",
    "pillow",
    "tifffile",
    "imagecodecs",
    "simplejpeg",
    "pycocotools",
    "scikit-image",
    "scipy",
    "imagehash",
    "scikit-learn",
    "apricot-select",
)


def of_packages(*more: str) -> dict[str, str]:
    """The versions of installed packages: of those that decide on results, and of some more.

    Raises
    ------
    UserError
        If one is not installed.
    """
    try:
        return {name: importlib.metadata.version(name) for name in (*PACKAGES, *more)}
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"{error.name} is not installed; `pip install -r requirements.txt` brings it") from None


@cache
def versions(*more: str) -> dict[str, str]:
    """All that processes have to agree on that work together: Python, packages, and a digest of this code's files."""
    code = hashlib.sha256()
    root = Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        code.update(f"{file.relative_to(root)} {digest(file)}".encode())
    python = ".".join(map(str, sys.version_info[:2]))
    return {"Python": python, **of_packages(*more), "Traincore's code": code.hexdigest()[:12]}
