"""Write a set of pairs: its metadata, its shards, and copies of some rows."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.codecs

from stages.pairs import shards
from stages.pairs.layout import AXES, COMPRESSION, FORMAT, VERSION, Block, Layout, Origins, arrays_of, shard_path
from stages.pairs.read import Pairs
from stages.pipeline.errors import UserError


def create(path: Path, layout: Layout, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of a set; shards and `finish` are to follow.

    Parameters
    ----------
    path : Path
        A folder that does not exist yet, or one that an interrupted run left of the same set: its shards stay.
    layout : Layout
        Of the set.
    attributes : mapping
        The parameters that the set is made with; plain JSON values.
    """
    for metadata in path.glob("**/zarr.json"):
        metadata.unlink()
    for column in ("checksums", "rows", "tiles", "files"):
        shutil.rmtree(path / column, ignore_errors=True)
    group = zarr.create_group(path, zarr_format=3, attributes={"format": FORMAT, "version": VERSION, **attributes})
    for name, shape, dtype in arrays_of(layout):
        array = group.create_array(
            name,
            shape=(layout.count, *shape),
            dtype=dtype,
            chunks=(1, *shape),
            shards=(layout.shard_rows, *shape),
            compressors=_compressors(COMPRESSION[name]),
            dimension_names=AXES[name],
        )
        if name != "labels":
            array.attrs["scale"] = layout.scale if name == "images" else 1.0
        if name != "images" and layout.classes:
            array.attrs["classes"] = layout.classes


def write_shard(path: Path, layout: Layout, shard: int, block: Block) -> np.ndarray:
    """Write the pairs of one shard; different shards may be written by different processes.

    Returns
    -------
    ndarray of uint32, shape (n, 2)
        The checksums of each pair's image and target, for `finish`.
    """
    columns = [
        shards.write_shard(
            shard_path(path, name, shard),
            (np.ascontiguousarray(pair).tobytes() for pair in array),
            layout.shard_rows,
            COMPRESSION[name],
        )
        for (name, _, _), array in zip(arrays_of(layout), block, strict=True)
    ]
    return np.array(columns, dtype=np.uint32).reshape(2, -1).T


def written_shard(path: Path, layout: Layout, shard: int) -> np.ndarray | None:
    """The checksums of a shard that an interrupted run wrote, as from `write_shard`; None if it is not there whole."""
    count = len(layout.shard_range(shard))
    try:
        columns = [
            shards.read_checksums(shard_path(path, name, shard), layout.shard_rows, count)
            for name, _, _ in arrays_of(layout)
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
        For each pair its row in the set that it was copied from.
    origins : Origins, optional
        The files that the pairs come from.
    """
    group = zarr.open_group(path, mode="r+")
    _write_column(group, "checksums", checksums)
    if rows is not None:
        _write_column(group, "rows", rows)
    if origins is not None:
        _write_column(group, "tiles", origins.tiles.astype(np.int32))
        _write_column(group, "files", np.frombuffer(json.dumps([*origins.files]).encode(), np.uint8))


def copy_rows(source: Pairs, rows: np.ndarray, path: Path, attributes: Mapping[str, Any]) -> None:
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
        The parameters that the copy is made with; plain JSON values.
    """
    layout = replace(source.layout, count=len(rows))
    create(path, layout, attributes)
    checksums = [
        write_shard(path, layout, shard, source.read_rows(rows[layout.shard_range(shard)]))
        for shard in range(layout.shard_count)
    ]
    origins = source.origins()
    finish(path, np.concatenate(checksums), rows, origins and origins.of(rows))


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
        config={"write_empty_chunks": True},  # else Zarr writes no chunk that holds zeros alone
    )
    array[...] = values
