"""A set of pairs in Zarr: create it, write rows, read rows, stream rows.

A set is a Zarr v3 group with the arrays ``images`` (n, h, w, c) and ``masks`` (n, h, w, 1), a chunk a pair, many
chunks a shard; ``checksums`` (n, 2), the CRC-32C of each pair's two chunks, which tells a damaged, swapped or
missing shard from a good one; and, for a set taken from another, ``rows`` (n,), where its pairs stood there.
"""

import hashlib
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
import zarr.errors

from stages import shards
from stages.errors import UserError

FORMAT = "traincore.pairs"
VERSION = 1

# A shard is a file that DVC hashes and one worker holds: few of them, none of them large.
SHARD_BYTES = 64 * 2**20
SHARD_ROWS = 512

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
        pair_bytes = math.prod(self.image_shape) * np.dtype(self.dtype).itemsize
        return max(1, min(SHARD_ROWS, SHARD_BYTES // pair_bytes))

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
        group = _open_group(path)
        self.attributes: dict[str, Any] = dict(group.attrs)
        self.layout = _read_layout(path, group)
        self._checksums = _read_column(path, group, "checksums", (self.layout.count, 2))
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
                )
                for place, raw in zip(places, chunks, strict=True):
                    if len(raw) != out[place].nbytes:
                        raise UserError(
                            f"{self.path / name}: pairs of {len(raw)} bytes, expected {out[place].nbytes}: "
                            f"{out.dtype} {out.shape[1:]}"
                        )
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


def _read_column(path: Path, group: zarr.Group, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if not (path / name / "c").exists():  # Zarr would read a missing chunk as zeros
        raise UserError(f"{path / name}: missing; {_how_to_restore(path)}")
    try:
        values = np.asarray(group[name][...])  # type: ignore[index]
    except Exception as error:  # Zarr raises many kinds for damaged metadata and chunks
        raise UserError(f"{path / name}: cannot be read: {_one_line(error)}; {_how_to_restore(path)}") from None
    if values.shape != shape:
        raise UserError(f"{path / name}: shape {values.shape}, expected {shape}; {_how_to_restore(path)}")
    return values


def _open_group(path: Path) -> zarr.Group:
    if not path.is_dir():
        raise UserError(f"{path}: missing; {_how_to_restore(path)}")
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
    except Exception as error:  # Zarr raises many kinds for damaged metadata
        raise UserError(f"{path}: not a Zarr v3 group: {_one_line(error)}; {_how_to_restore(path)}") from None
    found = group.attrs.get("format"), group.attrs.get("version")
    if found[0] != FORMAT:
        raise UserError(f"{path}: format {found[0]!r}, expected {FORMAT!r}")
    if found[1] != VERSION:
        raise UserError(f"{path}: version {found[1]!r} of the format, this Traincore reads version {VERSION}")
    return group


def _read_layout(path: Path, group: zarr.Group) -> Layout:
    """The layout of a set, after checking that its arrays are what `create` would make of it."""
    try:
        arrays: list[Any] = [group["images"], group["masks"]]
        images, masks = (array.metadata.to_dict() for array in arrays)
        count, *image_shape = (int(length) for length in arrays[0].shape)
        layout = Layout(count, tuple(image_shape), str(images["data_type"]))  # type: ignore[arg-type]
        if layout.dtype not in ("uint8", "float32") or len(layout.image_shape) != 3:
            raise UserError(
                f"{path / 'images'}: {layout.dtype} {(count, *image_shape)}, "
                "expected uint8 or float32 (n, height, width, channels)"
            )
        for name, metadata, shape, dtype in (
            ("images", images, layout.image_shape, layout.dtype),
            ("masks", masks, layout.mask_shape, "uint8"),
        ):
            _check_array(path / name, metadata, layout, shape, dtype, COMPRESSION[name])
    except UserError as error:
        raise UserError(f"{error}; {_how_to_restore(path)}") from None
    except Exception as error:  # whatever damaged metadata leads to
        raise UserError(f"{path}: damaged metadata: {_one_line(error)}; {_how_to_restore(path)}") from None
    return layout


def _check_array(
    path: Path, metadata: Mapping[str, Any], layout: Layout, shape: tuple[int, ...], dtype: str, compression: str
) -> None:
    sharding = metadata["codecs"][0]["configuration"]
    found = {
        "shape": tuple(metadata["shape"]),
        "dtype": str(metadata["data_type"]),
        "shard": tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"]),
        "chunk": tuple(sharding["chunk_shape"]),
        "codecs": [codec["name"] for codec in sharding["codecs"]],
    }
    expected = {
        "shape": (layout.count, *shape),
        "dtype": dtype,
        "shard": (layout.shard_rows, *shape),
        "chunk": (1, *shape),
        "codecs": ["bytes", "zstd", "crc32c"] if compression == "zstd" else ["bytes", "crc32c"],
    }
    for key, value in expected.items():
        if found[key] != value:
            raise UserError(f"{path}: {key} {found[key]}, expected {value}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _how_to_restore(path: Path) -> str:
    return f"`dvc checkout --force {os.path.relpath(path)}` restores it, or remove it and run `dvc repro`"
