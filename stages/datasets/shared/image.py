"""Read an image from a file, in the values that a set stores."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.datasets.shared.decode import decode
from stages.datasets.shared.find import examine, warn
from stages.datasets.shared.raster import Header, Raster
from stages.pipeline.errors import UserError

DEEP = 65535  # white in 16 bits, of which cameras and scanners often use 10, 12 or 14
DEPTHS = (8, 10, 12, 14, 16)


class Range(NamedTuple):
    """The stored values that are brought to 0 and to 1.

    Attributes
    ----------
    given : tuple of float, optional
        Both, for files of any kind; else they are 0 and what is white in a file.
    deep : int
        What is white in a file of 16 bits.
    """

    given: tuple[float, float] | None = None
    deep: int = DEEP

    @property
    def shown(self) -> list[float] | int:
        """It in a metrics file: the given range, or what is white in 16 bits."""
        return [*self.given] if self.given else self.deep

    def of(self, white: int) -> tuple[float, float]:
        """Both, for a file in which a value is white."""
        return self.given or (0, self.deep if white == DEEP else white)


FULL = Range()


def read_image(path: Path, dtype: str, values: Range = FULL, page: int = 0) -> np.ndarray:
    """Read an image in the values that a set stores: uint8, or float32 in [0, 1].

    Parameters
    ----------
    path : Path
        The file.
    dtype : {"uint8", "float32"}
        Type of the result.
    values : Range
        Stored values that become 0 and 255, or 0 and 1; what lies outside is clipped.
    page : int
        Page of a TIFF, counted from 0.

    Returns
    -------
    ndarray of uint8 or float32, shape (h, w, c)

    Raises
    ------
    UserError
        If it is broken or of another kind, or holds other values than integers of 8 or 16 bits without a range.
    """
    raster = decode(path, page)
    image, white = raster.values, raster.white
    if raster.palette is not None:
        image, white = raster.palette[image], 255
    if image.ndim == 2:
        image = image[:, :, None]
    low, high = values.of(white)
    if image.dtype in (np.uint8, np.uint16):
        if dtype == "uint8" and image.dtype == np.uint8 and (low, high) == (0, 255):
            return image
        return np.asarray(_brought(np.arange(np.iinfo(image.dtype).max + 1), low, high, dtype)[image])
    if values.given is None:
        raise UserError(
            f"{path}: values of {image.dtype}, allowed are 8 and 16 bits; dataset.value_range=[0,1] or another range "
            "says which of them are black and white"
        )
    if not np.isfinite(image).all():
        raise UserError(f"{path}: values that are not finite")
    return _brought(image, low, high, dtype)


def _brought(values: np.ndarray, low: float, high: float, dtype: str) -> np.ndarray:
    shares = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return np.asarray(np.round(shares * 255).astype(np.uint8) if dtype == "uint8" else shares.astype(np.float32))


def choose_range(setting: str | Sequence[float], paths: Sequence[Path], headers: Sequence[Header]) -> Range:
    """The range that ``dataset.value_range`` means for some images, both sides of a split.

    Parameters
    ----------
    setting : {"auto", "dtype"} or sequence of float, shape (2,)
        A range; ``dtype`` takes all that the files can store; ``auto`` does so for 8 bits, and for 16 bits takes the
        least of 8, 10, 12, 14 and 16 bits that holds their greatest value, and says so.
    """
    if not isinstance(setting, str):
        low, high = setting
        return Range((low, high))
    deep = [(path, header.pages) for path, header in zip(paths, headers, strict=True) if header.bits == 16]
    if setting == "dtype" or not deep:
        return FULL
    most = max(examine(lambda place: _greatest(*deep[place]), len(deep)))
    white = 2 ** next(bits for bits in DEPTHS if most < 2**bits) - 1
    if white != DEEP:
        warn(
            f"{len(deep)} images of 16 bits hold no value above {most}, so {white} is taken as white; "
            f"dataset.value_range=[0,{white}] says that for certain, and dataset.value_range=dtype takes 65535"
        )
    return Range(deep=white)


def _greatest(path: Path, pages: int) -> int:
    """The greatest value of a file; 0 if it is broken, `DEEP` if it holds other values: both are said elsewhere."""
    try:
        rasters = [decode(path, page) for page in range(pages)]
    except UserError:
        return 0
    return max(_greatest_of(each) for each in rasters)


def _greatest_of(raster: Raster) -> int:
    values = raster.values
    if values.dtype.kind != "u":
        return DEEP
    if values.ndim == 3 and not raster.only_bands:
        values = values[:, :, :3]  # alpha says nothing of what is white
    return int(values.max(initial=0))


def require_promised(path: Path, image: np.ndarray, header: Header) -> None:
    """Raise if an image has not the size and channels that its head says."""
    if image.shape != header[:3]:
        raise UserError(f"{path}: broken image: its head says {header[:3]}, it holds {image.shape}")
