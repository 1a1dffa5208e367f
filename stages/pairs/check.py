"""Check that a folder is a set of pairs that this version reads, and read its metadata and small columns."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stages.pairs import shards
from stages.pairs.layout import (
    CLASSES,
    COMPRESSION,
    FORMAT,
    VERSION,
    ClassesOf,
    Layout,
    Origins,
    PixelClass,
    arrays_of,
    shard_path,
)
from stages.pipeline.errors import UserError
from stages.pipeline.files import read_file


def read_checksums_of_set(path: Path, count: int) -> np.ndarray:
    """The checksums of a set's images and targets; uint32, shape (n, 2)."""
    return read_column(path / "checksums", (count, 2), "uint32")


def read_origins(path: Path, count: int) -> Origins:
    """The files that the pairs of a set come from, after checking that each pair has one."""
    tiles = read_column(path / "tiles", (count, 4), "int32")
    shape: Any = _read_metadata(path / "files", "array").get("shape")
    if not _is_shape(shape, 1):
        raise UserError(f"{path / 'files' / 'zarr.json'}: shape {_short(shape)}, expected a number of bytes")
    try:
        files = json.loads(read_column(path / "files", tuple(shape), "uint8").tobytes())
    except ValueError as error:
        raise UserError(f"{path / 'files'}: damaged: {_short(error)}") from None
    if not isinstance(files, list) or not all(_are_names(each) for each in files):
        raise UserError(f"{path / 'files'}: damaged: expected lists of names")
    if tiles.min() < 0 or tiles[:, 0].max() >= len(files):
        raise UserError(f"{path / 'tiles'}: damaged: expected places in {len(files)} files")
    return Origins(files, tiles)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(name, str) for name in value)


def read_column(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of a single chunk, read without Zarr, which makes zeros of a missing one."""
    expected = {"shape": shape, "dtype": dtype, "chunk": shape, "codecs": ["bytes", "crc32c"]}
    _check_array(path, _read_metadata(path, "array"), expected)
    file = path.joinpath("c", *"0" * len(shape))
    size = math.prod(shape) * np.dtype(dtype).itemsize
    content = read_file(file)
    values, stored = content[:size], content[size:]
    if len(stored) != shards.CHECKSUM_BYTES or shards.checksum(values) != int.from_bytes(stored, "little"):
        raise UserError(f"{file}: damaged or truncated: its checksum does not match")
    return np.frombuffer(values, np.dtype(dtype).newbyteorder("<")).reshape(shape)


def read_attributes(path: Path) -> dict[str, Any]:
    """The parameters that a set was made with, after checking that it is one and of this version."""
    if not path.is_dir():
        raise UserError(f"{path}: missing")
    attributes = _read_metadata(path, "group").get("attributes", {})
    if not isinstance(attributes, dict) or attributes.get("format") != FORMAT:
        found = attributes.get("format") if isinstance(attributes, dict) else attributes
        raise UserError(f"{path / 'zarr.json'}: format {_short(found)}, expected {FORMAT!r}")
    version = attributes.get("version")
    if type(version) is not int or version != VERSION:
        raise UserError(
            f"{path / 'zarr.json'}: version {_short(version)} of the format, this Traincore reads version {VERSION}"
        )
    return attributes


def read_layout(path: Path) -> Layout:
    """The layout of a set, after checking that its arrays are those that `create` makes of it."""
    images = _read_metadata(path / "images", "array")
    shape: Any = images.get("shape")
    dtype: Any = images.get("data_type")
    if dtype not in ("uint8", "float32") or not _is_shape(shape, 4):
        raise UserError(
            f"{path / 'images' / 'zarr.json'}: {_short(dtype)} {_short(shape)}, "
            "expected uint8 or float32 (n, height, width, channels)"
        )
    labels = (path / "labels").exists()
    classes = _read_classes(path / ("labels" if labels else "masks"))
    classes_of: ClassesOf = "pixels" if classes and not labels else "images"
    layout = Layout(shape[0], (shape[1], shape[2], shape[3]), dtype, classes, classes_of)
    for name, pair_shape, pair_dtype in arrays_of(layout):
        codecs = ["bytes", "zstd", "crc32c"] if COMPRESSION[name] == "zstd" else ["bytes", "crc32c"]
        expected = {
            "shape": (layout.count, *pair_shape),
            "dtype": pair_dtype,
            "shard": (layout.shard_rows, *pair_shape),
            "chunk": (1, *pair_shape),
            "codecs": codecs,
        }
        _check_array(path / name, _read_metadata(path / name, "array"), expected)
    return layout


def _read_classes(path: Path) -> int | None:
    """The number of classes that an array of masks or of labels holds; None for masks of 0 and 1."""
    attributes: Any = _read_metadata(path, "array").get("attributes")
    classes = attributes.get("classes") if isinstance(attributes, dict) else None
    if classes is None and path.name == "masks":
        return None
    if type(classes) is not int or not 2 <= classes <= CLASSES:
        raise UserError(f"{path / 'zarr.json'}: classes {_short(classes)}, expected 2 to {CLASSES}")
    return classes


def read_pixel_classes(path: Path, attributes: Mapping[str, Any], layout: Layout) -> list[PixelClass]:
    """The classes of a set's pixels, after checking that they are named; none where it has no such classes."""
    if layout.kind != "classes":
        return []
    # A core has the attributes of the set that it was taken from in one of its own.
    found = attributes.get("core_of", attributes).get("classes")
    try:
        classes = [PixelClass(str(name), int(value), str(color)) for name, value, color in found]
    except (TypeError, ValueError):
        classes = []
    if len(classes) != layout.classes:
        raise UserError(f"{path / 'zarr.json'}: damaged: expected the names of {layout.classes} classes")
    return classes


def _check_array(path: Path, metadata: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that the metadata of an array are as expected; without a "shard" it has chunks alone."""
    try:
        found = {
            "shape": tuple(metadata["shape"]),
            "dtype": metadata["data_type"],
            "chunk": tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"]),
        }
        codecs = metadata["codecs"]
        if "shard" in expected:
            sharding = codecs[0]["configuration"]
            found |= {"shard": found["chunk"], "chunk": tuple(sharding["chunk_shape"])}
            codecs = sharding["codecs"]
        found["codecs"] = [codec["name"] for codec in codecs]
        found["byte order"] = codecs[0].get("configuration", {}).get("endian", "little")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"{path / 'zarr.json'}: damaged metadata: {type(error).__name__} {_short(error)}") from None
    for key, value in {**expected, "byte order": "little"}.items():
        if found[key] != value:
            raise UserError(f"{path / 'zarr.json'}: {key} {_short(found[key])}, expected {value}")


def check_shards(path: Path, layout: Layout) -> None:
    """Check that all shards are there, and that shards of raw chunks have the size that follows from the layout.

    So a damaged set is found before memory of that size is taken.
    """
    for shard in range(layout.shard_count):
        rows = len(layout.shard_range(shard))
        for name, shape, dtype in arrays_of(layout):
            file = shard_path(path, name, shard)
            if not file.is_file():
                raise UserError(f"{file}: {'not a file' if file.exists() else 'missing'}")
            if COMPRESSION[name] != "raw":
                continue
            chunk_bytes = math.prod(shape) * np.dtype(dtype).itemsize
            size, expected = file.stat().st_size, shards.raw_bytes(rows, chunk_bytes, layout.shard_rows)
            if size != expected:
                raise UserError(
                    f"{file}: {'truncated' if size < expected else 'damaged'}: {size} bytes, expected {expected}"
                )


def _read_metadata(path: Path, kind: str) -> dict[str, Any]:
    """The zarr.json of a group or an array, as plain data."""
    file = path / "zarr.json"
    try:
        metadata = json.loads(read_file(file))
    except ValueError as error:
        raise UserError(f"{file}: damaged metadata: {_short(error)}") from None
    if not isinstance(metadata, dict) or (metadata.get("zarr_format"), metadata.get("node_type")) != (3, kind):
        raise UserError(f"{file}: not the metadata of a Zarr v3 {kind}")
    return metadata


def _is_shape(value: Any, axes: int) -> bool:
    return isinstance(value, list) and len(value) == axes and all(type(n) is int and n > 0 for n in value)


def _short(value: object) -> str:
    text = str(value) if isinstance(value, Exception | tuple | list) else repr(value)
    return " ".join(text.split())[:100]


@contextmanager
def restorable(path: Path) -> Iterator[None]:
    """Have the line of an error end in how to restore a set."""
    try:
        yield
    except UserError as error:
        how = f"`dvc checkout --force {os.path.relpath(path)}` restores it, or remove it and run `dvc repro`"
        raise UserError(f"{error}; {how}") from None
