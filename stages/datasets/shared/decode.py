"""Decode image files: the values that they store, and what these mean.

A file is what its first bytes say, whatever its ending. A decoder that only warns of damage is made to refuse: half an
image of grey is no image.
"""

import io
from pathlib import Path
from typing import IO, Any

import numpy as np

from stages.datasets.shared.raster import Header, Raster, broken_image, upright
from stages.datasets.shared.tiff import decode_tiff, read_tiff_header
from stages.pipeline.errors import UserError
from stages.pipeline.opencv import open_cv
from stages.pipeline.stores import StoredPath

# Bytes that an object store is asked for at once: for a head, for a whole file, for what stands behind a PNG's pixels.
HEAD, WHOLE, TAIL = 2**15, 2**22, 2**16
# First bytes of a file, and the format that they tell.
PNG = b"\x89PNG\r\n\x1a\n"  # the 25th byte of such a file is the depth of a value in bits
SIGNATURES = {
    PNG: "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # of more than 4 GB
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"RIFF": "WEBP",
}
ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"}
CHANNELS = {"1": 1, "L": 1, "I;16": 1, "I;16B": 1, "I": 1, "P": 3, "RGB": 3, "RGBA": 4}  # by Pillow's mode
EXIF_OF_PNG, PIXELS_OF_PNG = b"eXIf", b"IDAT"
PROGRESSIVE = b"\xff\xc2"  # begins the head of such a JPEG
END_OF_JPEG = b"\xff\xd9"
ORIENTATION = 274  # tag of EXIF and TIFF
GREY_DEPTHS = (1, 2, 4)  # of a PNG, which Pillow brings to 8 bits


def read_header(path: Path) -> Header:
    """Read the head of an image file alone.

    Raises
    ------
    UserError
        If it is broken, or of a kind that is not read.
    """
    file, first = _opened(path, HEAD)
    with file:
        kind = _format(path, first)
        try:
            if kind == "TIFF":
                return read_tiff_header(path, file if isinstance(path, StoredPath) else path)
            return _other_header(path, file, kind, first)
        except UserError:
            raise
        except Exception as error:  # decoders raise many kinds for damaged files
            raise broken_image(path, error) from None


def decode(path: Path, page: int = 0) -> Raster:
    """Decode an image.

    Parameters
    ----------
    path : Path
        The file.
    page : int
        Page of a TIFF, counted from 0.

    Raises
    ------
    UserError
        If it is broken, or of a kind that is not read.
    """
    file, first = _opened(path, HEAD if page else WHOLE)
    with file:
        kind = _format(path, first)
        try:
            if kind == "TIFF":
                return decode_tiff(path, file if isinstance(path, StoredPath) else path, page)
            content = file.read()
            if kind == "JPEG":
                return _decode_jpeg(path, content)
            return _decode_other(path, kind, content)
        except UserError:
            raise
        except Exception as error:
            raise broken_image(path, error) from None


def _opened(path: Path, at_once: int) -> tuple[IO[bytes], bytes]:
    """A file at its beginning, and its first bytes."""
    try:
        file = path.open("rb", at_once if isinstance(path, StoredPath) else -1)
        first = file.read(32)
        file.seek(0)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    return file, first


def _format(path: Path, content: bytes) -> str:
    for signature, name in SIGNATURES.items():
        if content.startswith(signature):
            return name
    raise UserError(f"{path}: broken image, or none")


def _pillow() -> Any:
    """Pillow's module of images; it opens as large ones as OpenCV does, since scenes from above are large."""
    from PIL import Image  # loaded where it is needed: not every source has files

    Image.MAX_IMAGE_PIXELS = 2**30
    return Image


# Formats of photographs and of the web


def _other_header(path: Path, file: IO[bytes], kind: str, first: bytes) -> Header:
    content = file.read() if _is_read_whole(path, file, kind) else b""
    source = path if not isinstance(path, StoredPath) else io.BytesIO(content) if content else file
    with _pillow().open(source) as image:
        _require_still(path, image)
        if image.mode not in CHANNELS:
            raise UserError(f"{path}: mode {image.mode}, allowed are grey, RGB and RGBA")
        channels = 4 if image.mode in ("P", "RGB") and "transparency" in image.info else CHANNELS[image.mode]
        height, width = image.height, image.width
        orientation = _orientation(image, content)
        if orientation > 4:
            height, width = width, height
        bits = first[24] if first.startswith(PNG) else 8
        return Header(height, width, channels, bits, turned=orientation > 1)


def _is_read_whole(path: Path, file: IO[bytes], kind: str) -> bool:
    """Whether the head of a file needs the rest: EXIF may stand behind the pixels of a PNG, frames of a GIF count."""
    if kind != "PNG" or not isinstance(path, StoredPath):
        return kind in ("PNG", "GIF")
    file.seek(max(0, file.seek(0, io.SEEK_END) - TAIL))
    tail = file.read()
    file.seek(0)
    return PIXELS_OF_PNG not in tail or EXIF_OF_PNG in tail


def _require_still(path: Path, image: Any) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a photograph with previews
        raise UserError(f"{path}: a moving picture of {frames} frames, allowed are single images")


def _orientation(image: Any, content: bytes) -> int:
    """The orientation by EXIF, which viewers go by; Pillow's own reader goes by XMP as well."""
    if image.format == "PNG" and "exif" not in image.info and EXIF_OF_PNG in content:
        image.load()  # it stands behind the pixels
    exif = _pillow().Exif()
    exif.load(image.info.get("exif", b""))
    found = exif.get(ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _decode_jpeg(path: Path, content: bytes) -> Raster:
    import simplejpeg

    with _pillow().open(io.BytesIO(content)) as image:
        orientation, mode = _orientation(image, content), image.mode
    if mode not in ("L", "RGB"):
        raise UserError(f"{path}: mode {mode}, allowed are grey, RGB and RGBA")
    colours = "GRAY" if mode == "L" else "RGB"
    try:
        values = simplejpeg.decode_jpeg(content, colours, strict=True)
    except ValueError:
        if PROGRESSIVE in content:  # one that ends after any of its passes looks whole, and is blurred
            raise
        # Some programs leave out the end marker, or put zeros before it; the picture is whole then.
        data = content.rstrip(b"\0")
        data = data[:-2].rstrip(b"\0") if data.endswith(END_OF_JPEG) else content
        values = simplejpeg.decode_jpeg(data + END_OF_JPEG, colours, strict=True)
    return Raster(upright(values[:, :, 0] if colours == "GRAY" else values, orientation), 255, lossy=True)


def _decode_other(path: Path, kind: str, content: bytes) -> Raster:
    """A PNG, BMP, GIF or WebP."""
    with _pillow().open(io.BytesIO(content)) as image:
        _require_still(path, image)
        orientation, mode = _orientation(image, content), image.mode
        depth = content[24] if kind == "PNG" else 8
        if kind == "PNG" and (mode == "P" or depth in GREY_DEPTHS):
            _by_open_cv(path, content)  # which refuses a file that lacks rows, where Pillow makes them of zeros
        if mode == "P":
            channels = "RGBA" if "transparency" in image.info else "RGB"
            image.apply_transparency()  # to the palette, which else is opaque
            palette = np.array(image.getpalette(channels), np.uint8).reshape(-1, len(channels))
            numbers = np.asarray(image)
            if numbers.size and numbers.max() >= len(palette):
                raise UserError(f"{path}: broken image: a colour that its palette has not")
            return Raster(upright(numbers, orientation), 255, palette)
        if kind == "PNG" and mode in ("1", "L") and depth in GREY_DEPTHS:
            white = 2**depth - 1
            grey = np.asarray(image).astype(np.uint8)
            if "transparency" in image.info and grey.any():
                raise UserError(f"{path}: a transparent grey of {depth} bits, allowed is one without")
            return Raster(upright(grey if depth == 1 else grey // (255 // white), orientation), white)
        if kind in ("GIF", "WEBP"):
            # The first chunk of a WebP tells how it is compressed, unless it is one for metadata.
            lossy = kind == "WEBP" and content[12:16] != b"VP8L" and b"VP8L" not in content
            return Raster(upright(np.asarray(image), orientation), 255, lossy=lossy)
    values = _by_open_cv(path, content)
    return Raster(upright(values, orientation), np.iinfo(values.dtype).max)


def _by_open_cv(path: Path, content: bytes) -> np.ndarray:
    cv2 = open_cv()
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise UserError(f"{path}: broken image, or none")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return np.asarray(image)
