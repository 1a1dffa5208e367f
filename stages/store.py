"""A set of pairs in Zarr: create it, write rows, read rows, stream rows.

A set is a Zarr v3 group with the arrays ``images`` (n, h, w, c) and ``masks`` (n, h, w, 1), a chunk a pair, many
chunks a shard; ``checksums`` (n, 2), the CRC-32C of each pair's two chunks, which tells a damaged, swapped or
missing shard from a good one; and, for a set taken from another, ``rows`` (n,), where its pairs stood there.
"""

import hashlib
import json
import math
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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

# Noise does not compress and costs time in trying; masks shrink a hundredfold.
COMPRESSION = {"images": "raw", "masks": "zstd"}


class Block(NamedTuple):
    """Some pairs in memory: images (n, h, w, c) as stored, masks (n, h, w, 1) uint8 of 0 and 1."""

    images: np.ndarray
    masks: np.ndarray


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
    """

    count: int
    image_shape: tuple[int, int, int]
    dtype: str

    @property
    def scale(self) -> float:
        """What a stored value is divided by to be in [0, 1]."""
        return 255.0 if self.dtype == "uint8" else 1.0

    @property
    def mask_shape(self) -> tuple[int, int, int]:
        """Height, width, 1."""
        return (*self.image_shape[:2], 1)

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
        pair = math.prod(self.image_shape) * np.dtype(self.dtype).itemsize + math.prod(self.mask_shape) // 20
        return self.count * pair

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
    for column in ("checksums", "rows"):
        shutil.rmtree(path / column, ignore_errors=True)
    group = zarr.create_group(path, zarr_format=3, attributes={"format": FORMAT, "version": VERSION, **attributes})
    for name, shape, dtype in (
        ("images", layout.image_shape, layout.dtype),
        ("masks", layout.mask_shape, "uint8"),
    ):
        array = group.create_array(
            name,
            shape=(layout.count, *shape),
            dtype=dtype,
            chunks=(1, *shape),
            shards=(layout.shard_rows, *shape),
            compressors=_compressors(COMPRESSION[name]),
            dimension_names=("pair", "row", "column", "channel"),
        )
        array.attrs["scale"] = layout.scale if name == "images" else 1.0


def write_shard(path: Path, layout: Layout, shard: int, block: Block) -> np.ndarray:
    """Write the pairs of one shard; different shards may be written by different processes.

    Returns
    -------
    ndarray of uint32, shape (n, 2)
        The checksums of each pair's image and mask, for `finish`.
    """
    columns = [
        shards.write_shard(
            _shard_path(path, name, shard),
            (np.ascontiguousarray(pair).tobytes() for pair in array),
            layout.shard_rows,
            COMPRESSION[name],
        )
        for name, array in block._asdict().items()
    ]
    return np.array(columns, dtype=np.uint32).reshape(2, -1).T


def written_shard(path: Path, layout: Layout, shard: int) -> np.ndarray | None:
    """What `write_shard` returned for a shard that an interrupted run wrote; None if it is not there whole."""
    count = len(layout.shard_range(shard))
    try:
        columns = [
            shards.read_checksums(_shard_path(path, name, shard), layout.shard_rows, count)
            for name in ("images", "masks")
        ]
    except UserError:
        return None
    return np.array(columns, dtype=np.uint32).T


def finish(path: Path, checksums: np.ndarray, rows: np.ndarray | None = None) -> None:
    """Complete a set whose shards are all written.

    Parameters
    ----------
    path : Path
        The set.
    checksums : ndarray of uint32, shape (n, 2)
        From `write_shard`, in row order.
    rows : ndarray of int64, shape (n,), optional
        Where each pair stood in the set that it comes from.
    """
    group = zarr.open_group(path, mode="r+")
    _write_column(group, "checksums", checksums)
    if rows is not None:
        _write_column(group, "rows", rows)


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
    layout = Layout(len(rows), source.layout.image_shape, source.layout.dtype)
    create(path, layout, attributes)
    checksums = [
        write_shard(path, layout, shard, source.read_rows(rows[layout.shard_range(shard)]))
        for shard in range(layout.shard_count)
    ]
    finish(path, np.concatenate(checksums), rows)


class Pairs:
    """A set of pairs opened for reading.

    Parameters
    ----------
    path : Path
        The set.
    order_seed : int, optional
        Shuffles the order in which positions count the rows; without it positions are rows.

    Attributes
    ----------
    order : ndarray of int64, shape (n,)
        The row at each position.

    Raises
    ------
    UserError
        If there is no such set, or it is not one that this version reads.
    """

    def __init__(self, path: Path, order_seed: int | None = None) -> None:
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
        rows = np.arange(self.layout.count)
        self.order = rows if order_seed is None else np.random.default_rng(order_seed).permutation(rows)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def digest(self) -> str:
        """A digest of the content: of what the pairs look like and of their checksums."""
        return hashlib.sha256(repr(self.layout).encode() + self._checksums.tobytes()).hexdigest()

    def read(self, positions: Sequence[int] | np.ndarray) -> Block:
        """Some pairs, in the order asked for.

        Parameters
        ----------
        positions : sequence of int, shape (n,)
            Which pairs.

        Returns
        -------
        Block
            images (n, h, w, c) as stored, masks (n, h, w, 1) uint8.

        Raises
        ------
        UserError
            If a pair is damaged or missing on disk.
        """
        return self.read_rows(self.order[np.asarray(positions, dtype=np.int64)])

    def read_rows(self, rows: np.ndarray) -> Block:
        """Some pairs by their rows, whatever the order; else the same as `read`."""
        images = np.empty((len(rows), *self.layout.image_shape), self.layout.dtype)
        masks = np.empty((len(rows), *self.layout.mask_shape), np.uint8)
        self._fill("images", 0, rows, images)
        self._fill("masks", 1, rows, masks)
        return Block(images, masks)

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


def _shard_path(path: Path, name: str, shard: int) -> Path:
    return path / name / "c" / str(shard) / "0" / "0" / "0"


def _compressors(compression: str) -> list[Any]:
    crc = zarr.codecs.Crc32cCodec()
    return [zarr.codecs.ZstdCodec(level=1), crc] if compression == "zstd" else [crc]


def _write_column(group: zarr.Group, name: str, values: np.ndarray) -> None:
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=values.shape, compressors=_compressors("raw")
    )
    array[...] = values


def _read_checksums(path: Path, count: int) -> np.ndarray:
    """The checksums of all pairs, read without Zarr, which makes zeros of a missing chunk."""
    _check_array(
        path / "checksums",
        _read_metadata(path / "checksums", "array"),
        {"shape": (count, 2), "dtype": "uint32", "chunk": (count, 2), "codecs": ["bytes", "crc32c"]},
    )
    file = path / "checksums" / "c" / "0" / "0"
    size = count * 8 + shards.CHECKSUM_BYTES
    content = shards.read_file(file, size)
    values, stored = content[: -shards.CHECKSUM_BYTES], content[-shards.CHECKSUM_BYTES :]
    if len(content) != size or shards.checksum(values) != int.from_bytes(stored, "little"):
        raise UserError(f"{file}: damaged or truncated: its checksum does not match")
    return np.frombuffer(values, dtype="<u4").reshape(count, 2)


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
    layout = Layout(shape[0], (shape[1], shape[2], shape[3]), dtype)
    if layout.count > PAIRS or layout.image_bytes > PAIR_BYTES:
        raise UserError(
            f"{path / 'images' / 'zarr.json'}: {layout.count} pairs of {layout.image_bytes} bytes, "
            f"expected at most {PAIRS} of {PAIR_BYTES}"
        )
    for name, metadata, pair_shape, pair_dtype in (
        ("images", images, layout.image_shape, layout.dtype),
        ("masks", _read_metadata(path / "masks", "array"), layout.mask_shape, "uint8"),
    ):
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
    """Check that all shards are there, and those of images, which are not compressed, of the size that they have to be.

    So what the metadata says is compared with what is on disk before anything of that size is allocated.
    """
    for shard in range(layout.shard_count):
        for name in COMPRESSION:
            file = _shard_path(path, name, shard)
            if not file.is_file():
                raise UserError(f"{file}: {'not a file' if file.exists() else 'missing'}")
        file, rows = _shard_path(path, "images", shard), len(layout.shard_range(shard))
        size, expected = file.stat().st_size, shards.raw_bytes(rows, layout.image_bytes, layout.shard_rows)
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
