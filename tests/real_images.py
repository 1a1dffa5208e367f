"""Real images that packages ship, as folders of images and masks: `python -m tests.real_images head nuclei`.

- ``head``: one person's head, slice by slice, with the brain as mask: ``ch2`` and ``ch2bet`` of Debian's package
  ``mricron-data``.
- ``nuclei``: a picture of nuclei under the microscope, from the Data Science Bowl of 2018, in 16 parts. The Python
  package ``stardist`` has it as a trial; its files suffice (``pip install --no-deps stardist``).
"""

import gzip
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from tests.files import save

SCANS = Path("/usr/share/mricron/templates")
SHAPE = (181, 217, 181)  # of a scan: from left to right, from back to front, upwards
HEADER = 352  # bytes of a NIfTI file before its voxels
PART = 128  # pixels, the side of a part of the picture


def main() -> None:
    """Write the folders that are asked for, by name."""
    for name in sys.argv[1:]:
        for file, image, mask in {"head": head, "nuclei": nuclei}[name]():
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


def _voxels(path: Path) -> np.ndarray:
    """The voxels of a scan, uint8; the first axis varies fastest in the file."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=HEADER).reshape(SHAPE, order="F")


if __name__ == "__main__":
    main()
