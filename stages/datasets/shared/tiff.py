"""Decode TIFF files: their pages, and what the values of a page mean."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets.shared.raster import Header, Raster, upright
from stages.pipeline.errors import UserError
from stages.pipeline.stores import StoredPath, version_of

JPEG = (6, 7)  # compressions
UNSPECIFIED = 0  # a channel behind the colours that is no alpha
_open_here = threading.local()


def read_tiff_header(path: Path, source: Any) -> Header:
    """Read the head of a TIFF alone, from its path or its open file; errors are tifffile's own, or UserError."""
    with _open_tiff(source) as file:
        page, pages, stack = _pages(path, file)
        if file.is_ome and None in list(pages):  # looks at all of them, which is too slow for each
            raise UserError(f"{path}: planes that its metadata name are missing, allowed are whole stacks")
        height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
        if page.colormap is not None:
            channels = 3
        orientation = page.tags.valueof("Orientation", 1)
        if orientation > 4:
            height, width = width, height
        return Header(height, width, channels, page.bitspersample, len(pages), stack, orientation > 1)


def _open_tiff(source: Any) -> Any:
    from tifffile import TiffFile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it raises its messages, too
    # A plane that OME's metadata place in another file is a pair of that file, and would be one of each otherwise.
    return TiffFile(source, _multifile=False)


def _pages(path: Path, file: Any) -> tuple[Any, Sequence[Any], tuple[str, ...]]:
    """The first page, all pages, and the axes of a stack with their sizes; previews do not count.

    Raises
    ------
    UserError
        If its pages are the channels of one image, differ in shape, or are of a kind that is not read.
    """
    from tifffile import PHOTOMETRIC

    series = [each for each in file.series if not (each.keyframe.is_reduced or each.keyframe.is_mask)] or file.series
    page = series[0].keyframe.aspage()
    allowed = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE, PHOTOMETRIC.YCBCR)
    if page.photometric not in allowed:
        kind = getattr(page.photometric, "name", page.photometric)
        raise UserError(f"{path}: colours of kind {kind}, allowed are grey, RGB and RGBA")
    if page.photometric == PHOTOMETRIC.YCBCR and page.compression not in JPEG:
        raise UserError(f"{path}: colours of kind YCBCR without JPEG, allowed are grey, RGB and RGBA")
    if page.dtype is not None and page.dtype.kind == "c":
        raise UserError(f"{path}: values of {page.dtype}, allowed are integers and reals")
    if page.samplesperpixel not in (1, 3, 4):
        raise UserError(f"{path}: {page.samplesperpixel} channels, allowed are grey, RGB and RGBA")
    axes, shape = series[0].axes, series[0].shape
    if len(series) > 1:  # as where a stack was written page by page
        kinds = [(each.shape, each.dtype, each.keyframe.photometric) for each in series]
        other = next((kind for kind in kinds if kind != kinds[0]), None)
        if other or len(series[0]) > 1:
            shapes = " and ".join(map(str, [shape, *(other or kinds[1])[:1]]))
            raise UserError(f"{path}: pages of {shapes}, allowed are pages of one shape and type")
        return page, [each[0] for each in series], ()
    stacked = axes[: len(axes) - 2 - ("S" in axes)]
    if "C" in stacked and shape[axes.index("C")] > 1:
        raise UserError(f"{path}: its pages are channels (axes {axes} of {shape}), allowed are channels within a page")
    count = int(np.prod([shape[axes.index(axis)] for axis in stacked], dtype=np.int64))
    if count != len(series[0]):
        raise UserError(f"{path}: {count} planes in {len(series[0])} pages, allowed is a page each")
    stack = tuple(f"{axis} of {size}" for axis, size in zip(axes, shape, strict=True) if axis not in "YXS" and size > 1)
    return page, series[0], stack


def decode_tiff(path: Path, source: Any, number: int) -> Raster:
    """Decode a page of a TIFF, counted from 0; source and errors are those of `read_tiff_header`."""
    if number:
        return _decode_page(path, *_kept(path), number)
    with _open_tiff(source) as file:
        return _decode_page(path, file, _pages(path, file), number)


def _kept(path: Path) -> tuple[Any, Any]:
    """A stack that is read page after page; it stays open, since its directory takes long to read."""
    key = path, version_of(path)
    if getattr(_open_here, "key", None) != key:
        if hasattr(_open_here, "file"):
            _open_here.file.close()
        source = path.open("rb") if isinstance(path, StoredPath) else path
        _open_here.file, _open_here.key = _open_tiff(source), None
        _open_here.pages, _open_here.key = _pages(path, _open_here.file), key  # only once both are of this file
    return _open_here.file, _open_here.pages


def _decode_page(path: Path, file: Any, of_file: tuple[Any, Sequence[Any], tuple[str, ...]], number: int) -> Raster:
    from tifffile import PHOTOMETRIC

    page, pages, _ = of_file
    own = pages[number]  # metadata may name pages in another order than they have in the file
    if max(map(sum, zip(own.dataoffsets, own.databytecounts, strict=True)), default=0) > file.filehandle.size:
        raise UserError(f"{path}: broken image: it ends before its pixels do")
    if page.compression == JPEG[1]:
        _require_whole(path, file.filehandle, own)
    values = own.asarray()
    # Each page has a palette and a way up of its own, but for planes behind one page, as ImageJ writes more than 4 GB.
    own = page if own.is_virtual else own.aspage()
    if page.planarconfig == 2 and values.ndim == 3:  # channel after channel
        values = np.moveaxis(values, 0, 2)
    if values.ndim not in (2, 3):
        raise UserError(f"{path}: axes of {values.shape}, allowed are grey, RGB and RGBA")
    white = 2**page.bitspersample - 1
    values = values.astype(np.uint8) if values.dtype == bool else values
    palette = None
    if page.photometric == PHOTOMETRIC.PALETTE:
        palette = _colours(own.colormap)
    inverted = page.photometric == PHOTOMETRIC.MINISWHITE
    if inverted and values.dtype.kind != "u":
        raise UserError(f"{path}: white is 0 in it, allowed for values of {values.dtype} are files in which it is not")
    if inverted:
        values = values.dtype.type(white) - values
    values = upright(values, own.tags.valueof("Orientation", 1))
    return Raster(values, white, palette, inverted, page.compression in JPEG, UNSPECIFIED in page.extrasamples)


def _require_whole(path: Path, file: Any, page: Any) -> None:
    """Raise if a JPEG in a TIFF has lost its end, of which its decoder says nothing."""
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(max(offset, offset + length - 64))
        tail = file.read(min(length, 64)).rstrip(b"\0")
        if length and not tail.endswith(b"\xff\xd9"):
            raise UserError(f"{path}: broken image: JPEG data without their end")


def _colours(colormap: np.ndarray) -> np.ndarray:
    """The colours of a palette; uint8, shape (n, 3). They have 16 bits, but some programs write 8."""
    return np.asarray((colormap.T >> (8 if colormap.max() > 255 else 0)).astype(np.uint8))
