"""A set of pairs in Zarr: create it, write rows, read rows, stream rows.

A set is a Zarr v3 group with the arrays ``images`` (n, h, w, c) and ``masks`` (n, h, w, 1), or ``labels`` (n, 1) in
their place, a chunk a pair, many chunks a shard; ``checksums`` (n, 2), the CRC-32C of each pair's two chunks, which
tells a damaged, swapped or missing shard from a good one; for a set taken from another, ``rows`` (n,), where its
pairs stood there; and for one that comes from files, ``tiles`` (n, 3) with the file, top and left of each pair, and
``files``, the names of these as JSON.
"""

import copy
import hashlib
import json
import math
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
import zarr.codecs

from stages import shards
from stages.errors import UserError

FORMAT = "traincore.pairs"
VERSION = 1

# A shard is a file that DVC hashes and one worker holds: few of them, none of them large.
SHARD_ROWS = 512

# What a set may hold; far more than is ever written, and little enough to be read on any machine.
PAIRS = 10**8
PAIR_BYTES = 2**30
METADATA_BYTES = 2**20
METADATA_DEPTH = 50
NAME_BYTES = 2**28
CLASSES = 256

# Noise does not compress and costs time in trying; masks shrink a hundredfold.
COMPRESSION = {"images": "raw", "masks": "zstd", "labels": "raw"}
AXES = {
    "images": ("pair", "row", "column", "channel"),
    "masks": ("pair", "row", "column", "channel"),
    "labels": ("pair", "label"),
}


class Block(NamedTuple):
    """Some pairs in memory: images (n, h, w, c) as stored; targets uint8, masks (n, h, w, 1) or labels (n, 1)."""

    images: np.ndarray
    targets: np.ndarray


class Origins(NamedTuple):
    """Where the pairs of a set come from.

    Attributes
    ----------
    files : sequence of sequence of str
        For each image its file, and that of its mask if it has one of its own; below the folder, with ``/``.
    tiles : ndarray of int32, shape (n, 3)
        Of each pair: its place in ``files``, and the first row and column that it has there.
    """

    files: Sequence[Sequence[str]]
    tiles: np.ndarray

    def of(self, rows: np.ndarray) -> "Origins":
        """The same for some rows alone."""
        used, places = np.unique(self.tiles[rows, 0], return_inverse=True)
        return Origins([self.files[file] for file in used], np.column_stack([places, self.tiles[rows, 1:]]))


@dataclass(frozen=True)
class Layout:
    """What the pairs of a set look like.

    Attributes
    ----------
    count : int
        Pairs in the set.
    image_shape : tuple of int
        Height, width, channels.
    dtype : {"uint8", "float32"}
        Of the images as they are stored.
    classes : int, optional
        How many there are, if targets are labels, which count from 0; otherwise targets are masks of 0 and 1.
    """

    count: int
    image_shape: tuple[int, int, int]
    dtype: str
    classes: int | None = None

    @property
    def scale(self) -> float:
        """What a stored value is divided by to be in [0, 1]."""
        return 255.0 if self.dtype == "uint8" else 1.0

    @property
    def target(self) -> str:
        """The array that holds the targets: "masks" or "labels"."""
        return "masks" if self.classes is None else "labels"

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Of a mask: height, width, 1; of a label: 1."""
        return (*self.image_shape[:2], 1) if self.classes is None else (1,)

    @property
    def shard_rows(self) -> int:
        """Pairs in a shard."""
        return max(1, min(SHARD_ROWS, shards.SHARD_BYTES // self.image_bytes))

    @property
    def image_bytes(self) -> int:
        """Bytes of an image as it is stored."""
        return math.prod(self.image_shape) * np.dtype(self.dtype).itemsize

    @property
    def shard_count(self) -> int:
        """Shards of each array."""
        return -(-self.count // self.shard_rows)

    @property
    def bytes(self) -> int:
        """About what a set of them takes on disk: images do not compress, masks shrink to a few percent."""
        return self.count * (self.image_bytes + math.prod(self.target_shape) // 20)

    def shard_range(self, shard: int) -> range:
        """Rows that stand in a shard."""
        return range(shard * self.shard_rows, min(self.count, (shard + 1) * self.shard_rows))


def create(path: Path, layout: Layout, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of a set; shards and `finish` are to follow.

    Parameters
    ----------
    path : Path
        A folder that does not exist yet, or holds what an interrupted run left of the same set: its shards stay.
    layout : Layout
        What the pairs look like.
    attributes : mapping
        How the set was made; plain JSON values.
    """
    for metadata in path.glob("**/zarr.json"):
        metadata.unlink()
    for column in ("checksums", "rows", "tiles", "files"):
        shutil.rmtree(path / column, ignore_errors=True)
    group = zarr.create_group(path, zarr_format=3, attributes={"format": FORMAT, "version": VERSION, **attributes})
    for name, shape, dtype in _arrays(layout):
        array = group.create_array(
            name,
            shape=(layout.count, *shape),
            dtype=dtype,
            chunks=(1, *shape),
            shards=(layout.shard_rows, *shape),
            compressors=_compressors(COMPRESSION[name]),
            dimension_names=AXES[name],
        )
        if name == "labels":
            array.attrs["classes"] = layout.classes
        else:
            array.attrs["scale"] = layout.scale if name == "images" else 1.0


def write_shard(path: Path, layout: Layout, shard: int, block: Block) -> np.ndarray:
    """Write the pairs of one shard; different shards may be written by different processes.

    Returns
    -------
    ndarray of uint32, shape (n, 2)
        The checksums of each pair's image and target, for `finish`.
    """
    columns = [
        shards.write_shard(
            _shard_path(path, name, shard),
            (np.ascontiguousarray(pair).tobytes() for pair in array),
            layout.shard_rows,
            COMPRESSION[name],
        )
        for (name, _, _), array in zip(_arrays(layout), block, strict=True)
    ]
    return np.array(columns, dtype=np.uint32).reshape(2, -1).T


def written_shard(path: Path, layout: Layout, shard: int) -> np.ndarray | None:
    """What `write_shard` returned for a shard that an interrupted run wrote; None if it is not there whole."""
    count = len(layout.shard_range(shard))
    try:
        columns = [
            shards.read_checksums(_shard_path(path, name, shard), layout.shard_rows, count)
            for name, _, _ in _arrays(layout)
        ]
    except UserError:
        return None
    return np.array(columns, dtype=np.uint32).T


def finish(path: Path, checksums: np.ndarray, rows: np.ndarray | None = None, origins: Origins | None = None) -> None:
    """Complete a set whose shards are all written.

    Parameters
    ----------
    path : Path
        The set.
    checksums : ndarray of uint32, shape (n, 2)
        From `write_shard`, in row order.
    rows : ndarray of int64, shape (n,), optional
        Where each pair stood in the set that it comes from.
    origins : Origins, optional
        The files that they come from.
    """
    group = zarr.open_group(path, mode="r+")
    _write_column(group, "checksums", checksums)
    if rows is not None:
        _write_column(group, "rows", rows)
    if origins is not None:
        _write_column(group, "tiles", origins.tiles.astype(np.int32))
        _write_column(group, "files", np.frombuffer(json.dumps([*origins.files]).encode(), np.uint8))


def copy_rows(source: "Pairs", rows: np.ndarray, path: Path, attributes: Mapping[str, Any]) -> None:
    """Write some rows of a set as a set of its own.

    Parameters
    ----------
    source : Pairs
        The set to take from.
    rows : ndarray of int64, shape (n,)
        Rows of the source, in the order of the copy.
    path : Path
        The copy; does not exist yet.
    attributes : mapping
        How the copy was made; plain JSON values.
    """
    layout = replace(source.layout, count=len(rows))
    create(path, layout, attributes)
    checksums = [
        write_shard(path, layout, shard, source.read_rows(rows[layout.shard_range(shard)]))
        for shard in range(layout.shard_count)
    ]
    origins = source.origins()
    finish(path, np.concatenate(checksums), rows, origins and origins.of(rows))


class Pairs:
    """A set of pairs opened for reading.

    Parameters
    ----------
    path : Path
        The set.

    Attributes
    ----------
    order : ndarray of int64, shape (n,)
        The row at each position; all rows as they stand, unless `in_order` says otherwise.

    Raises
    ------
    UserError
        If there is no such set, or it is not one that this version reads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.attributes = _read_attributes(path)
            self.layout = _read_layout(path)
            _check_shards(path, self.layout)
            self._checksums = _read_checksums(path, self.layout.count)
        except UserError as error:
            raise UserError(f"{error}; {_how_to_restore(path)}") from None
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}; {_how_to_restore(path)}") from None
        self._indexes: dict[tuple[str, int], np.ndarray] = {}
        self.order = np.arange(self.layout.count)

    def __len__(self) -> int:
        return len(self.order)

    def in_order(self, rows: np.ndarray) -> "Pairs":
        """The same set with positions that count some of its rows."""
        pairs = copy.copy(self)
        pairs.order = rows
        return pairs

    @property
    def digest(self) -> str:
        """A digest of the content: of what the pairs look like and of their checksums."""
        return self.digest_of(self.layout.count)

    def digest_of(self, count: int) -> str:
        """The same of the first rows alone: the digest of a set that holds no others."""
        layout = replace(self.layout, count=count)
        return hashlib.sha256(repr(layout).encode() + self._checksums[:count].tobytes()).hexdigest()

    @property
    def image_checksums(self) -> np.ndarray:
        """CRC-32C of the images of all rows as they are stored; uint32, shape (n,)."""
        return self._checksums[:, 0]

    def origins(self) -> Origins | None:
        """The files that the rows come from, if they come from files.

        Raises
        ------
        UserError
            If what is written of that is damaged.
        """
        if not any((self.path / name).exists() for name in ("tiles", "files")):
            return None
        try:
            return _read_origins(self.path, self.layout.count)
        except UserError as error:
            raise UserError(f"{error}; {_how_to_restore(self.path)}") from None

    def rows_of_source(self) -> np.ndarray:
        """Where the rows of a set that was taken from another stood there; int64, shape (n,)."""
        try:
            return _read_column(self.path / "rows", (self.layout.count,), "int64")
        except UserError as error:
            raise UserError(f"{error}; {_how_to_restore(self.path)}") from None

    def read(self, positions: Sequence[int] | np.ndarray) -> Block:
        """Some pairs, in the order asked for.

        Parameters
        ----------
        positions : sequence of int, shape (n,)
            Which pairs.

        Returns
        -------
        Block
            images (n, h, w, c) as stored, targets uint8: masks (n, h, w, 1) or labels (n, 1).

        Raises
        ------
        UserError
            If a pair is damaged or missing on disk.
        """
        return self.read_rows(self.order[np.asarray(positions, dtype=np.int64)])

    def read_rows(self, rows: np.ndarray) -> Block:
        """Some pairs by their rows, whatever the order; else the same as `read`."""
        arrays = []
        for column, (name, shape, dtype) in enumerate(_arrays(self.layout)):
            arrays.append(np.empty((len(rows), *shape), dtype))
            self._fill(name, column, rows, arrays[-1])
        block = Block(*arrays)
        if self.layout.classes is not None and block.targets.max(initial=0) >= self.layout.classes:
            raise UserError(
                f"{self.path / 'labels'}: damaged: label {block.targets.max()} of {self.layout.classes} classes; "
                f"{_how_to_restore(self.path)}"
            )
        return block

    def stream(self, blocks: Iterable[Sequence[int] | np.ndarray]) -> Iterator[Block]:
        """Pairs block by block, the next block read while the last one is used."""
        return prefetch(lambda block=block: self.read(block) for block in blocks)  # type: ignore[misc]

    def _fill(self, name: str, column: int, rows: np.ndarray, out: np.ndarray) -> None:
        shard_of = rows // self.layout.shard_rows
        try:
            for shard in np.unique(shard_of):
                places = np.flatnonzero(shard_of == shard)
                chunks = shards.read_chunks(
                    _shard_path(self.path, name, int(shard)),
                    self._index(name, int(shard)),
                    (rows[places] % self.layout.shard_rows).tolist(),
                    self._checksums[rows[places], column].tolist(),
                    COMPRESSION[name],
                    out.itemsize * math.prod(out.shape[1:]),
                )
                for place, raw in zip(places, chunks, strict=True):
                    out[place] = np.frombuffer(raw, out.dtype).reshape(out.shape[1:])
        except UserError as error:
            raise UserError(f"{error}; {_how_to_restore(self.path)}") from None

    def _index(self, name: str, shard: int) -> np.ndarray:
        if (name, shard) not in self._indexes:
            path = _shard_path(self.path, name, shard)
            self._indexes[name, shard] = shards.read_index(path, self.layout.shard_rows)
        return self._indexes[name, shard]


def prefetch(reads: Iterable[Callable[[], Block]]) -> Iterator[Block]:
    """Results of some calls in their order, each made on a second thread while the one before is used."""
    results: queue.Queue[Block | BaseException | None] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def put(result: Block | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                results.put(result, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for read in reads:
                put(read())
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # raised again where the results are used
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (result := results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stopped.set()
        thread.join()


def _arrays(layout: Layout) -> list[tuple[str, tuple[int, ...], str]]:
    """The arrays of images and targets: name, shape of a pair, dtype."""
    return [("images", layout.image_shape, layout.dtype), (layout.target, layout.target_shape, "uint8")]


def _shard_path(path: Path, name: str, shard: int) -> Path:
    return path.joinpath(name, "c", str(shard), *"0" * (len(AXES[name]) - 1))


def _compressors(compression: str) -> list[Any]:
    crc = zarr.codecs.Crc32cCodec()
    return [zarr.codecs.ZstdCodec(level=1), crc] if compression == "zstd" else [crc]


def _write_column(group: zarr.Group, name: str, values: np.ndarray) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=values.shape,
        compressors=_compressors("raw"),
        config={"write_empty_chunks": True},  # or Zarr leaves out what is zeros alone
    )
    array[...] = values


def _read_checksums(path: Path, count: int) -> np.ndarray:
    return _read_column(path / "checksums", (count, 2), "uint32")


def _read_origins(path: Path, count: int) -> Origins:
    tiles = _read_column(path / "tiles", (count, 3), "int32")
    shape: Any = _read_metadata(path / "files", "array").get("shape")
    if not _is_shape(shape, 1) or shape[0] > NAME_BYTES:
        raise UserError(f"{path / 'files' / 'zarr.json'}: shape {_short(shape)}, expected at most {NAME_BYTES} bytes")
    try:
        files = json.loads(_read_column(path / "files", tuple(shape), "uint8").tobytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path / 'files'}: damaged: {_short(error)}") from None
    if not isinstance(files, list) or not all(_are_names(each) for each in files):
        raise UserError(f"{path / 'files'}: damaged: expected lists of names")
    if tiles.min() < 0 or tiles[:, 0].max() >= len(files):
        raise UserError(f"{path / 'tiles'}: damaged: expected places in {len(files)} files")
    return Origins(files, tiles)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(name, str) for name in value)


def _read_column(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of a single chunk, read without Zarr, which makes zeros of a missing one."""
    expected = {"shape": shape, "dtype": dtype, "chunk": shape, "codecs": ["bytes", "crc32c"]}
    _check_array(path, _read_metadata(path, "array"), expected)
    file = path.joinpath("c", *"0" * len(shape))
    size = math.prod(shape) * np.dtype(dtype).itemsize + shards.CHECKSUM_BYTES
    content = shards.read_file(file, size)
    values, stored = content[: -shards.CHECKSUM_BYTES], content[-shards.CHECKSUM_BYTES :]
    if len(content) != size or shards.checksum(values) != int.from_bytes(stored, "little"):
        raise UserError(f"{file}: damaged or truncated: its checksum does not match")
    return np.frombuffer(values, np.dtype(dtype).newbyteorder("<")).reshape(shape)


def _read_attributes(path: Path) -> dict[str, Any]:
    """How a set was made, after checking that it is one and of this version."""
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


def _read_layout(path: Path) -> Layout:
    """The layout of a set, after checking that its arrays are what `create` would make of it."""
    images = _read_metadata(path / "images", "array")
    shape: Any = images.get("shape")
    dtype: Any = images.get("data_type")
    if dtype not in ("uint8", "float32") or not _is_shape(shape, 4):
        raise UserError(
            f"{path / 'images' / 'zarr.json'}: {_short(dtype)} {_short(shape)}, "
            "expected uint8 or float32 (n, height, width, channels)"
        )
    layout = Layout(shape[0], (shape[1], shape[2], shape[3]), dtype, _read_classes(path))
    if layout.count > PAIRS or layout.image_bytes > PAIR_BYTES:
        raise UserError(
            f"{path / 'images' / 'zarr.json'}: {layout.count} pairs of {layout.image_bytes} bytes, "
            f"expected at most {PAIRS} of {PAIR_BYTES}"
        )
    for name, pair_shape, pair_dtype in _arrays(layout):
        metadata = images if name == "images" else _read_metadata(path / name, "array")
        codecs = ["bytes", "zstd", "crc32c"] if COMPRESSION[name] == "zstd" else ["bytes", "crc32c"]
        expected = {
            "shape": (layout.count, *pair_shape),
            "dtype": pair_dtype,
            "shard": (layout.shard_rows, *pair_shape),
            "chunk": (1, *pair_shape),
            "codecs": codecs,
        }
        _check_array(path / name, metadata, expected)
    return layout


def _read_classes(path: Path) -> int | None:
    """How many classes the labels of a set have; None if it has no labels."""
    if not (path / "labels").exists():
        return None
    attributes: Any = _read_metadata(path / "labels", "array").get("attributes")
    classes = attributes.get("classes") if isinstance(attributes, dict) else None
    if type(classes) is not int or not 2 <= classes <= CLASSES:
        raise UserError(f"{path / 'labels' / 'zarr.json'}: classes {_short(classes)}, expected 2 to {CLASSES}")
    return classes


def _check_array(path: Path, metadata: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that an array is stored as expected; without a "shard" there are chunks alone."""
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


def _check_shards(path: Path, layout: Layout) -> None:
    """Check that all shards are there, and those that are not compressed of the size that they have to be.

    So what the metadata says is compared with what is on disk before anything of that size is allocated.
    """
    for shard in range(layout.shard_count):
        rows = len(layout.shard_range(shard))
        for name, shape, dtype in _arrays(layout):
            file = _shard_path(path, name, shard)
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
        metadata = json.loads(shards.read_file(file, METADATA_BYTES))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: damaged metadata: {_short(error)}") from None
    if not isinstance(metadata, dict) or (metadata.get("zarr_format"), metadata.get("node_type")) != (3, kind):
        raise UserError(f"{file}: not the metadata of a Zarr v3 {kind}")
    level: list[Any] = [metadata]
    for _ in range(METADATA_DEPTH):
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [value for values in inner for value in values]
    if level:
        raise UserError(f"{file}: damaged metadata: nested more than {METADATA_DEPTH} deep")
    return metadata


def _is_shape(value: Any, axes: int) -> bool:
    return isinstance(value, list) and len(value) == axes and all(type(n) is int and n > 0 for n in value)


def _short(value: object) -> str:
    try:
        text = str(value) if isinstance(value, Exception | tuple | list) else repr(value)
    except ValueError:  # Python prints no integer of thousands of digits
        text = "a number of thousands of digits"
    return " ".join(text.split())[:100]


def _how_to_restore(path: Path) -> str:
    return f"`dvc checkout --force {os.path.relpath(path)}` restores it, or remove it and run `dvc repro`"
