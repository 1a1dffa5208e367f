"""One shard file of a Zarr v3 array: chunks one after the other, then the index.

This is the ``sharding_indexed`` codec of the Zarr v3 specification
(https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/), written in row order, so that equal
data gives equal files, and read a chunk at a time with its checksum verified. zarr-python reads and writes the
same files, at about half a millisecond a chunk; a pool is hundreds of thousands of chunks.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import numcodecs
import numpy as np

from stages.pipeline.disk import cannot_write
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic_file, cannot_read

SHARD_BYTES = 64 * 2**20  # about the most that a shard takes
CHECKSUM_BYTES = 4
_zstd = numcodecs.Zstd(level=1)
# A chunk is its encoded bytes and their checksum.
ENCODERS: dict[str, Callable[[bytes], bytes]] = {"raw": bytes, "zstd": _zstd.encode}
DECODERS: dict[str, Callable[[bytes], bytes]] = {"raw": bytes, "zstd": _zstd.decode}


def checksum(data: bytes) -> int:
    """CRC-32C of some bytes, as Zarr's ``crc32c`` codec computes it."""
    return int(google_crc32c.value(data))


def index_bytes(slots: int) -> int:
    """Length of a shard's index, with its checksum."""
    return slots * 16 + CHECKSUM_BYTES


def raw_bytes(chunks: int, chunk_bytes: int, slots: int) -> int:
    """Size of a shard of uncompressed chunks."""
    return chunks * (chunk_bytes + CHECKSUM_BYTES) + index_bytes(slots)


def write_shard(path: Path, chunks: Iterable[bytes], slots: int, compression: str) -> list[int]:
    """Write one shard; the chunks of the last shard of an array may leave slots empty.

    Parameters
    ----------
    path : Path
        The file; its folders are made. It appears whole or not at all.
    chunks : iterable of bytes
        Raw bytes of each chunk, in row order.
    slots : int
        Chunks that a full shard holds.
    compression : {"raw", "zstd"}
        The encoding of a chunk, before its checksum is added.

    Returns
    -------
    list of int
        The checksum of each encoded chunk.

    Raises
    ------
    UserError
        If the file cannot be written, on a full disk for one.
    """
    try:
        return _write_shard(path, chunks, slots, compression)
    except OSError as error:
        raise cannot_write(error, SHARD_BYTES, path) from None


def _write_shard(path: Path, chunks: Iterable[bytes], slots: int, compression: str) -> list[int]:
    encode = ENCODERS[compression]
    index = np.full((slots, 2), 2**64 - 1, dtype="<u8")  # the specification's mark of an empty slot
    checksums: list[int] = []
    offset = 0
    with atomic_file(path) as file:
        for slot, raw in enumerate(chunks):
            encoded = encode(raw)
            checksums.append(checksum(encoded))
            file.write(encoded)
            file.write(checksums[-1].to_bytes(CHECKSUM_BYTES, "little"))
            index[slot] = offset, len(encoded) + CHECKSUM_BYTES
            offset += len(encoded) + CHECKSUM_BYTES
        file.write(index.tobytes())
        file.write(checksum(index.tobytes()).to_bytes(CHECKSUM_BYTES, "little"))
    return checksums


def read_index(path: Path, slots: int) -> np.ndarray:
    """The place of each chunk in a shard.

    Returns
    -------
    ndarray of uint64, shape (slots, 2)
        Offset and length in bytes, length with checksum.

    Raises
    ------
    UserError
        If the shard is missing, too short or its index damaged.
    """
    length = index_bytes(slots)
    with _opened(path) as (descriptor, size):
        if size < length:
            raise UserError(f"{path}: truncated: {size} bytes, expected more than {length}")
        tail = os.pread(descriptor, length, size - length)
    if checksum(tail[:-CHECKSUM_BYTES]) != int.from_bytes(tail[-CHECKSUM_BYTES:], "little"):
        raise UserError(f"{path}: damaged or truncated: the checksum of its index does not match")
    return np.frombuffer(tail[:-CHECKSUM_BYTES], dtype="<u8").reshape(slots, 2)


def read_checksums(path: Path, slots: int, count: int) -> list[int]:
    """The checksums of the first chunks of a shard, as `write_shard` returned them.

    Parameters
    ----------
    path : Path
        The shard.
    slots : int
        Chunks that a full shard holds.
    count : int
        Chunks that this one holds.

    Raises
    ------
    UserError
        If the shard is missing or any of it damaged.
    """
    index = read_index(path, slots)
    found = []
    with _opened(path) as opened:
        for slot in range(count):
            encoded, stored = _read_chunk(opened, *index[slot].tolist())
            if checksum(encoded) != stored:
                raise _not_the_one_written(path, slot)
            found.append(stored)
    return found


def read_chunks(
    path: Path, index: np.ndarray, slots: Sequence[int], checksums: Sequence[int], compression: str, chunk_bytes: int
) -> Iterable[bytes]:
    """Raw bytes of some chunks of one shard, each verified.

    Parameters
    ----------
    path : Path
        The shard.
    index : ndarray of uint64, shape (slots, 2)
        From `read_index`.
    slots : sequence of int
        Which chunks.
    checksums : sequence of int
        The checksum that each of them has to have.
    compression : {"raw", "zstd"}
        The encoding that they were written with.
    chunk_bytes : int
        Raw bytes of each chunk.

    Raises
    ------
    UserError
        If a chunk is not the one that was written.
    """
    with _opened(path) as opened:
        for slot, expected in zip(slots, checksums, strict=True):
            encoded, stored = _read_chunk(opened, *index[slot].tolist())
            if not checksum(encoded) == stored == expected:
                raise _not_the_one_written(path, slot)
            raw = DECODERS[compression](encoded)
            if len(raw) != chunk_bytes:
                raise UserError(f"{path}: damaged: chunk {slot} does not hold the {chunk_bytes} bytes of a pair")
            yield raw


def _read_chunk(opened: tuple[int, int], offset: int, length: int) -> tuple[bytes, int]:
    """An encoded chunk and the checksum that is stored with it; -1 where the file does not hold both."""
    descriptor, size = opened
    if length < CHECKSUM_BYTES or offset + length > size:
        return b"", -1
    data = os.pread(descriptor, length, offset)
    return data[:-CHECKSUM_BYTES], int.from_bytes(data[-CHECKSUM_BYTES:], "little")


def _not_the_one_written(path: Path, slot: int) -> UserError:
    return UserError(f"{path}: damaged: chunk {slot} is not the one that was written")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """A file to read: its descriptor and its size."""
    try:
        with path.open("rb", buffering=0) as file:
            yield file.fileno(), os.fstat(file.fileno()).st_size
    except OSError as error:  # of a failing disk, too
        raise cannot_read(path, error) from None
