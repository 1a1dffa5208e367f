"""One shard file of a Zarr v3 array: chunks one after the other, then the index.

This is the ``sharding_indexed`` codec of the Zarr v3 specification
(https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/), written in row order, so that equal
data gives equal files, and read a chunk at a time with its checksum verified. zarr-python reads and writes the
same files, at about half a millisecond a chunk; a pool is hundreds of thousands of chunks.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import numcodecs
import numpy as np

from stages import hardware
from stages.errors import UserError

SHARD_BYTES = 64 * 2**20  # about the most that one takes
CHECKSUM_BYTES = 4
WRITE_BUFFER = 2**20  # many chunks a system call
_zstd = numcodecs.Zstd(level=1)

# What stands between a chunk's raw bytes and its checksum, by the name that the array's metadata gives it.
ENCODERS: dict[str, Callable[[bytes], bytes]] = {"raw": bytes, "zstd": _zstd.encode}


def checksum(data: bytes) -> int:
    """CRC-32C of some bytes, as Zarr's ``crc32c`` codec computes it."""
    return int(google_crc32c.value(data))


def index_bytes(slots: int) -> int:
    """Length of a shard's index, with its checksum."""
    return slots * 16 + CHECKSUM_BYTES


def raw_bytes(chunks: int, chunk_bytes: int, slots: int) -> int:
    """Size of a shard of uncompressed chunks."""
    return chunks * (chunk_bytes + CHECKSUM_BYTES) + index_bytes(slots)


def read_file(path: Path, most: int) -> bytes:
    """All of a file that is not to be larger than some bytes.

    Raises
    ------
    UserError
        If it is missing, larger, or no file.
    """
    with _opened(path) as (descriptor, size):
        if size > most:
            raise UserError(f"{path}: damaged: {size} bytes, expected at most {most}")
        return os.pread(descriptor, size, 0)


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
        raise hardware.cannot_write(error, SHARD_BYTES, path) from None


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
        How many of them this one has.

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
        What the checksum of each of them has to be.
    compression : {"raw", "zstd"}
        As it was written.
    chunk_bytes : int
        Raw bytes of a chunk; no more are ever allocated for one, whatever the file says.

    Raises
    ------
    UserError
        If a chunk is not the one that was written.
    """
    most = chunk_bytes + chunk_bytes // 128 + 1024  # Zstandard's own bound is below that
    with _opened(path) as opened:
        for slot, expected in zip(slots, checksums, strict=True):
            offset, length = index[slot].tolist()
            encoded, stored = _read_chunk(opened, offset, min(length, most))
            if not checksum(encoded) == stored == expected:
                raise _not_the_one_written(path, slot)
            raw = _decode(encoded, compression, chunk_bytes)
            if raw is None:
                raise UserError(f"{path}: damaged: chunk {slot} does not hold the {chunk_bytes} bytes of a pair")
            yield raw


def _read_chunk(opened: tuple[int, int], offset: int, length: int) -> tuple[bytes, int]:
    """A chunk as it is encoded, and the checksum that is stored with it; -1 where the file does not hold both."""
    descriptor, size = opened
    if length < CHECKSUM_BYTES or offset + length > size:
        return b"", -1
    data = os.pread(descriptor, length, offset)
    return data[:-CHECKSUM_BYTES], int.from_bytes(data[-CHECKSUM_BYTES:], "little")


def _not_the_one_written(path: Path, slot: int) -> UserError:
    return UserError(f"{path}: damaged: chunk {slot} is not the one that was written")


def _decode(encoded: bytes, compression: str, size: int) -> bytes | None:
    """What was encoded, or nothing if it is not of that size; decided before anything is allocated."""
    if compression == "raw":
        return encoded if len(encoded) == size else None
    if _content_bytes(encoded) != size:
        return None
    raw = bytearray(size)
    try:
        _zstd.decode(encoded, raw)  # refuses further frames for which there is no room
    except (RuntimeError, ValueError):
        return None
    return bytes(raw)


def _content_bytes(frame: bytes) -> int | None:
    """What a Zstandard frame says that it decodes to (RFC 8878, 3.1.1.1), if it does; numcodecs' own always do."""
    if len(frame) < 5 or frame[:4] != b"\x28\xb5\x2f\xfd":
        return None
    single_segment = frame[4] >> 5 & 1
    length = (single_segment, 2, 4, 8)[frame[4] >> 6]
    start = 5 + (1 - single_segment) + (0, 1, 2, 4)[frame[4] & 3]  # after the window and the dictionary
    if not length or len(frame) < start + length:
        return None
    return int.from_bytes(frame[start : start + length], "little") + (256 if length == 2 else 0)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """A file to read: its descriptor and its size; what is no file is refused, and a pipe not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: cannot be read: not a file")
        yield descriptor, status.st_size
    except OSError as error:  # a failing disk
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    finally:
        os.close(descriptor)
