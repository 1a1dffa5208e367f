"""Read an image from a file."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.pipeline.errors import UserError
from stages.pipeline.opencv import open_cv

JPEG, TIFF = {".jpg", ".jpeg"}, {".tif", ".tiff"}
CHANNELS = {"1": 1, "L": 1, "I;16": 1, "I;16B": 1, "I": 1, "P": 3, "RGB": 3, "RGBA": 4}  # by Pillow's mode


class Header(NamedTuple):
    """Size and channels of an image, as the head of its file says."""

    height: int
    width: int
    channels: int


def read_header(path: Path) -> Header:
    """Read the head of an image file alone.

    Raises
    ------
    UserError
        If it is broken, or of a kind that is not read.
    """
    from PIL import UnidentifiedImageError  # loaded where it is needed: not every source has files

    pillow = open_pillow()
    try:
        if path.suffix.lower() in TIFF:
            return _read_tiff_header(path)
        with pillow.open(path) as image:
            if image.mode not in CHANNELS:
                raise UserError(f"{path}: mode {image.mode}, allowed are grey, RGB and RGBA")
            channels = 4 if image.mode in ("P", "RGB") and "transparency" in image.info else CHANNELS[image.mode]
            return Header(image.height, image.width, channels)
    except UnidentifiedImageError:
        raise UserError(f"{path}: broken image, or none") from None
    except (OSError, pillow.DecompressionBombError, ValueError, SyntaxError, LookupError) as error:
        raise broken_image(path, error) from None


def _read_tiff_header(path: Path) -> Header:
    from tifffile import TiffFile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it raises its messages, too
    try:
        with TiffFile(path) as file:
            page = file.pages[0].aspage()
            shape, palette, turned = page.shape, page.colormap is not None, page.tags.valueof("Orientation", 1)
    except Exception as error:  # tifffile raises many kinds for damaged files
        raise broken_image(path, error) from None
    if turned != 1:
        raise UserError(f"{path}: orientation {turned}, allowed is 1: from the top left, row by row")
    if not all(isinstance(length, int) for length in shape):
        raise UserError(f"{path}: broken image, or none")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (3, 4)):
        raise UserError(f"{path}: axes of {shape}, allowed are grey, RGB and RGBA")
    return Header(shape[0], shape[1], shape[2] if len(shape) == 3 else 3 if palette else 1)


def read_image(path: Path, dtype: str) -> np.ndarray:
    """Read an image in the values that a set stores: uint8, or float32 in [0, 1]; 16 bits are brought to either.

    Returns
    -------
    ndarray of uint8 or float32, shape (h, w, c)

    Raises
    ------
    UserError
        If it is broken or of another kind.
    """
    image = _read_plain_tiff(path) if path.suffix.lower() in TIFF else None
    if image is None:
        image = _read_by_open_cv(path)
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: values of {image.dtype}, allowed are 8 and 16 bits")
    if image.ndim == 2:
        image = image[:, :, None]
    most = np.iinfo(image.dtype).max
    if dtype == "float32":
        return np.asarray(image.astype(np.float32) / np.float32(most))
    return np.asarray(image if most == 255 else (image.astype(np.uint32) + 128) // 257, np.uint8)


def _read_by_open_cv(path: Path) -> np.ndarray:
    cv2 = open_cv()
    content = np.frombuffer(_read_bytes(path), np.uint8)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    except cv2.error as error:
        raise broken_image(path, error) from None
    if image is None:
        raise UserError(f"{path}: broken image, or none")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return np.asarray(image)


def _read_plain_tiff(path: Path) -> np.ndarray | None:
    """The values of a TIFF in grey or in colours; other kinds are left to OpenCV.

    OpenCV would multiply colours of 8 bits by the fourth channel, and fill damaged parts with zeros.
    """
    from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

    try:
        with TiffFile(path) as file:
            page = file.pages[0].aspage()
            if page.bitspersample not in (8, 16) or page.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB):
                return None
            return page.asarray()
    except Exception as error:
        if "imagecodecs" not in str(error):  # which tifffile needs for LZW, and OpenCV does not
            raise broken_image(path, error) from None
        if page.bitspersample == 8 and page.samplesperpixel == 4:
            kind = COMPRESSION(page.compression).name
            raise UserError(
                f"{path}: four channels of 8 bits in {kind}, allowed for these is Deflate or none"
            ) from None
        return None


def require_promised(path: Path, image: np.ndarray, header: Header) -> None:
    """Raise if an image has not the size and channels that its head says."""
    if image.shape != header:
        raise UserError(f"{path}: broken image: its head says {tuple(header)}, it holds {image.shape}")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def broken_image(path: Path, error: Exception) -> UserError:
    """The line for an image that a decoder refuses."""
    reason = " ".join(str(error).split()).replace(str(path), "the file")[:150] or type(error).__name__
    return UserError(f"{path}: broken image: {reason}")


def open_pillow() -> Any:
    """Pillow's module of images; it opens as large ones as OpenCV does, since scenes from above are large."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = 2**30
    return Image
