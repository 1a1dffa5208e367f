"""Folders of images and masks for studies: `python -m tests.image_folders head nuclei drawn`.

- ``head``: one person's head, slice by slice, with the brain as mask: ``ch2`` and ``ch2bet`` of Debian's package
  ``mricron-data``.
- ``nuclei``: a picture of nuclei under the microscope, from the Data Science Bowl of 2018, in 16 parts. The Python
  package ``stardist`` has it as a trial; its files suffice (``pip install --no-deps stardist``).
- ``drawn``: 2,000 ellipses of 128×128 for choosing and as many for the test.
"""

import gzip
import itertools
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from stages.datasets.ellipses import source
from tests.files import save
from tests.project import dataset_options

SCANS = Path("/usr/share/mricron/templates")
SHAPE = (181, 217, 181)  # of a scan: from left to right, from back to front, upwards
HEADER = 352  # bytes of a NIfTI file before its voxels
PART = 128  # pixels, the side of a part of the picture
DRAWN, BLOCK = 2000, 100


def main() -> None:
    """Write the folders that are asked for, by name."""
    for name in sys.argv[1:]:
        for file, image, mask in {"head": head, "nuclei": nuclei, "drawn": drawn}[name]():
            save(Path(name) / "images" / file, image)
            save(Path(name) / "masks" / file, mask * np.uint8(255))


def head() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Slices of the left and of the right half, but for those at the ears, which hold next to no brain."""
    scan, brain = (_voxels(SCANS / f"{name}.nii.gz") for name in ("ch2", "ch2bet"))
    for place in range(6, 175):
        side = "left" if place < SHAPE[0] // 2 else "right"
        yield f"{side}-{place:03}.png", scan[place], brain[place] > 0


def nuclei() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Parts of the picture, in rows."""
    package = find_spec("stardist")
    assert package
    assert package.submodule_search_locations
    files = Path(package.submodule_search_locations[0]) / "data/images"
    picture, labels = (np.asarray(Image.open(files / f"{name}2d.tif")) for name in ("img", "mask"))
    for number in range(16):
        top, left = (PART * each for each in divmod(number, 4))
        part = slice(top, top + PART), slice(left, left + PART)
        yield f"{number:02}.png", picture[part], labels[part] > 0


def drawn() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Ellipses as the default project draws them, those of the test by their own seed."""
    options = dataset_options("ellipses", train_count=DRAWN, test_count=DRAWN)
    for use, start in itertools.product(("train", "test"), range(0, DRAWN, BLOCK)):
        rows = range(start, start + BLOCK)
        block = source(options, use).draw(rows)
        for number, image, target in zip(rows, block.images, block.targets[..., 0], strict=True):
            yield f"{use}-{number:04}.png", image, target


def _voxels(path: Path) -> np.ndarray:
    """The voxels of a scan, uint8; the first axis varies fastest in the file."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=HEADER).reshape(SHAPE, order="F")


if __name__ == "__main__":
    main()
