"""Read an image from a file, in the values that a set stores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.datasets.shared.decode import decode
from stages.datasets.shared.find import examine, warn
from stages.datasets.shared.raster import Header, Raster
from stages.pipeline.errors import UserError

DEEP = 65535  # white in 16 bits, of which cameras and scanners often use 10, 12 or 14
DEPTHS = (8, 10, 12, 14, 16)
USED = 1 / 16  # share of a range, of which less than that shows next to nothing
OTHER, SOME = 1 / 8, 1 / 10  # share of white that so large a share of images on one scale seldom stay below
DIM = 1 / 4  # share of white that images on the same scale seldom stay below, all of them
MOST = (5, 95)  # percentiles between which most pixels lie
THINNED = 4  # rows and columns of which one tells these


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

    @classmethod
    def of_core(cls, attributes: Mapping[str, Any]) -> "Range":
        """That of the images of a core, by its attributes; drawn ones have the whole."""
        return cls(**attributes["core_of"].get("values", {}))

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
        If it is broken or of another kind, holds other values than integers of 8 or 16 bits without a range, or none
        as high as a given range.
    """
    raster = decode(path, page)
    image, white = raster.values, raster.white
    if raster.palette is not None:
        image, white = raster.palette[image], 255
    if image.ndim == 2:
        image = image[:, :, None]
    low, high = values.of(white)
    if image.dtype.kind == "u" and high > white:
        raise UserError(f"{path}: a file of up to {white}, dataset.value_range={values.shown} is of files of more bits")
    if image.dtype in (np.uint8, np.uint16):
        if dtype == "uint8" and image.dtype == np.uint8 and (low, high) == (0, 255):
            return image
        return np.asarray(_brought(np.arange(np.iinfo(image.dtype).max + 1), low, high, dtype)[image])
    if values.given is None:
        raise UserError(
            f"{path}: values of {image.dtype}, allowed are 8 and 16 bits; dataset.value_range={_held(image)} or "
            "another range says which of them are black and white"
        )
    if not np.isfinite(image).all():
        raise UserError(f"{path}: values that are not finite")
    return _brought(image, low, high, dtype)


def _held(image: np.ndarray) -> str:
    """A range as a parameter that holds all values of an image, and 0 and 1, but for one far off, as of no data."""
    held = image[np.isfinite(image)].astype(np.float64)
    for end in (np.min, np.max):
        rest = held[held != end(held)] if held.size else held
        if rest.size and abs(end(rest) - end(held)) > np.ptp(rest) > 0:
            held = rest
    low, high = float(held.min(initial=0)), float(held.max(initial=1))
    return f"[{low:g},{high:g}]"


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
    deep = _deep(paths, headers)
    if setting == "dtype" or not deep:
        return FULL
    held = _extents(deep)
    most = max((each.greatest for each in held), default=0)
    white = 2 ** next(bits for bits in DEPTHS if most < 2**bits) - 1
    if white != DEEP:
        certain = f"dataset.value_range=[0,{white}] says that for certain, and " if len(deep) == len(paths) else ""
        warn(
            f"{len(deep)} images of 16 bits hold no value above {most}, so {white} is taken as white; "
            f"{certain}dataset.value_range=dtype takes 65535"
        )
    dim = [each.greatest for each in held if each.greatest < OTHER * white]
    if SOME * len(held) < len(dim) < len(held):
        warn(
            f"{len(dim)} of {len(held)} images of 16 bits hold no value above {max(dim)}, where {white} is taken as "
            "white since others hold as much; are they of one scale?"
        )
    low, high = min((each.low for each in held), default=0), max((each.high for each in held), default=white)
    if high - low < USED * white:
        warn(
            f"nearly all pixels of {len(deep)} images of 16 bits hold {low} to {high}, which is next to one grey where "
            f"{white} is white; dataset.value_range=[{low},{max(high, low + 1)}] shows more"
        )
    return Range(deep=white)


def warn_of_scale(paths: Sequence[Path], headers: Sequence[Header], white: int) -> None:
    """Warn if images of 16 bits are all far from what is white, or the first beyond it, as if on another scale."""
    deep, greatest = _deep(paths, headers), []
    for file in deep:
        extent = _extent(*file)
        if extent and extent.greatest > white:
            warn(
                f"{file[0]}: holds {extent.greatest}, where the network takes {white} as white, as it does all above; "
                "do the images have the scale of those that it was trained on?"
            )
        if extent and extent.greatest >= DIM * white:
            return  # so that hardly any is read twice
        greatest += [extent.greatest] if extent else []
    if greatest:
        warn(
            f"{len(deep)} images of 16 bits hold no value above {max(greatest)}, where the network takes {white} as "
            "white; do they have the scale of the images that it was trained on?"
        )


def _deep(paths: Sequence[Path], headers: Sequence[Header]) -> list[tuple[Path, int]]:
    """Files of 16 bits, and the numbers of their pages."""
    return [(path, header.pages) for path, header in zip(paths, headers, strict=True) if header.bits == 16]


class _Extent(NamedTuple):
    """The greatest value of an image, and those between which most of its pixels lie."""

    greatest: int
    low: int
    high: int


def _extents(files: Sequence[tuple[Path, int]]) -> list[_Extent]:
    return [each for each in examine(lambda place: _extent(*files[place]), len(files)) if each]


def _extent(path: Path, pages: int) -> _Extent | None:
    """That of a file; None if it is broken, which is said elsewhere."""
    try:
        each = [_extent_of(decode(path, page)) for page in range(pages)]
    except UserError:
        return None
    greatest, low, high = zip(*each, strict=True)
    return _Extent(max(greatest), min(low), max(high))


def _extent_of(raster: Raster) -> _Extent:
    values = raster.values
    if values.dtype.kind != "u" or not values.size:  # said elsewhere, too
        return _Extent(DEEP, 0, DEEP)
    if values.ndim == 3 and not raster.only_bands:
        values = values[:, :, :3]  # alpha says nothing of what is white
    low, high = np.percentile(values[::THINNED, ::THINNED], MOST, method="nearest").tolist()
    return _Extent(int(values.max()), low, high)


def require_promised(path: Path, image: np.ndarray, header: Header) -> None:
    """Raise if an image has not the size and channels that its head says."""
    if image.shape != header[:3]:
        raise UserError(f"{path}: broken image: its head says {header[:3]}, it holds {image.shape}")
