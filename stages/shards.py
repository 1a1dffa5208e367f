"""One shard file of a Zarr v3 array: chunks one after the other, then the index.

This is the ``sharding_indexed`` codec of the Zarr v3 specification
(https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/), written in row order, so that equal
data gives equal files, and read a chunk at a time with its checksum verified. zarr-python reads and writes the
same files, at about half a millisecond a chunk; a pool is hundreds of thousands of chunks.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import google_crc32c
import numcodecs
import numpy as np

from stages import hardware
from stages.errors import UserError

CHECKSUM_BYTES = 4
WRITE_BUFFER = 2**20  # many chunks a system call
_zstd = numcodecs.Zstd(level=1)

Codec = Callable[[bytes], bytes]

# What stands between a chunk's raw bytes and its checksum, by the name that the array's metadata gives it.
ENCODERS: dict[str, Codec] = {"raw": bytes, "zstd": _zstd.encode}
DECODERS: dict[str, Codec] = {"raw": bytes, "zstd": _zstd.decode}


def checksum(data: bytes) -> int:
    """CRC-32C of some bytes, as Zarr's ``crc32c`` codec computes it."""
    return int(google_crc32c.value(data))


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
        What is done to a chunk before its checksum is added.

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
        free = hardware.free_bytes(path) / 1e6
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}; {free:,.0f} MB are free on its disk"
        ) from None


def _write_shard(path: Path, chunks: Iterable[bytes], slots: int, compression: str) -> list[int]:
    encode = ENCODERS[compression]
    index = np.full((slots, 2), 2**64 - 1, dtype="<u8")  # the specification's mark of an empty slot
    checksums: list[int] = []
    offset = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb", buffering=WRITE_BUFFER) as file:
        for slot, raw in enumerate(chunks):
            encoded = encode(raw)
            checksums.append(checksum(encoded))
            file.write(encoded)
            file.write(checksums[-1].to_bytes(CHECKSUM_BYTES, "little"))
            index[slot] = offset, len(encoded) + CHECKSUM_BYTES
            offset += len(encoded) + CHECKSUM_BYTES
        file.write(index.tobytes())
        file.write(checksum(index.tobytes()).to_bytes(CHECKSUM_BYTES, "little"))
    partial.replace(path)
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
    length = slots * 16 + CHECKSUM_BYTES
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < length:
                raise UserError(f"{path}: truncated: {size} bytes, expected more than {length}")
            file.seek(-length, os.SEEK_END)
            tail = file.read(length)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
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
        How many of them this one has.

    Raises
    ------
    UserError
        If the shard is missing or any of it damaged.
    """
    index = read_index(path, slots)
    size = path.stat().st_size
    found = []
    with path.open("rb") as file:
        for slot in range(count):
            offset, length = (int(number) for number in index[slot])
            file.seek(min(offset, size))
            data = file.read(min(length, size))
            found.append(int.from_bytes(data[-CHECKSUM_BYTES:], "little"))
            if len(data) != length or checksum(data[:-CHECKSUM_BYTES]) != found[-1]:
                raise UserError(f"{path}: damaged: chunk {slot} is not the one that was written")
    return found


def read_chunks(
    path: Path, index: np.ndarray, slots: Sequence[int], checksums: Sequence[int], compression: str
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
        What the checksum of each of them has to be.
    compression : {"raw", "zstd"}
        As it was written.

    Raises
    ------
    UserError
        If a chunk is not the one that was written.
    """
    decode = DECODERS[compression]
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        for slot, expected in zip(slots, checksums, strict=True):
            offset, length = (int(number) for number in index[slot])
            data = os.pread(descriptor, length, offset) if offset < 2**63 else b""
            encoded, stored = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
            if len(data) != length or not checksum(encoded) == int.from_bytes(stored, "little") == expected:
                raise UserError(f"{path}: damaged: chunk {slot} is not the one that was written")
            yield decode(encoded)
    finally:
        os.close(descriptor)
