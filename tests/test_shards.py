"""One shard file: chunks are read as they were written, by this code or by Zarr, and anything else is refused."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from stages.pairs import shards
from stages.pairs.layout import Layout
from stages.pairs.write import create
from stages.pipeline.errors import UserError
from tests.damage import examples, line_of, refused
from tests.sets import random_pairs, shards_of

CHUNK = 60
ENCODINGS = ["raw", "zstd"]


@given(
    chunks=st.integers(1, 40).flatmap(lambda size: st.lists(st.binary(min_size=size, max_size=size), max_size=6)),
    spare=st.integers(0, 3),
    compression=st.sampled_from(ENCODINGS),
    data=st.data(),
)
def test_chunks_of_a_shard_are_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], spare: int, compression: str, data: st.DataObject
) -> None:
    path, slots = tmp_path_factory.getbasetemp() / "shard", max(1, len(chunks) + spare)
    checksums = shards.write_shard(path, chunks, slots, compression)
    index, size = shards.read_index(path, slots), len(chunks[0]) if chunks else 1
    wanted = data.draw(st.lists(st.integers(0, len(chunks) - 1), max_size=6) if chunks else st.just([]))
    read = shards.read_chunks(path, index, wanted, [checksums[slot] for slot in wanted], compression, size)
    assert list(read) == [chunks[slot] for slot in wanted]


def test_a_shard_that_zarr_wrote_is_read_too(tmp_path: Path) -> None:
    pairs = random_pairs(8)
    with shards_of(3):
        create(tmp_path / "set.zarr", Layout(8, (4, 5, 3), "uint8"), {})
    array: Any = zarr.open_array(tmp_path / "set.zarr" / "images", mode="r+")
    array[...] = pairs.images
    path = tmp_path / "set.zarr/images/c/1/0/0/0"
    raw = [pair.tobytes() for pair in pairs.images[3:6]]
    index = shards.read_index(path, 3)
    read = shards.read_chunks(path, index, range(3), [shards.checksum(chunk) for chunk in raw], "raw", CHUNK)
    assert list(read) == raw


def test_an_empty_slot_is_refused(tmp_path: Path) -> None:
    shards.write_shard(tmp_path / "shard", [b"one"], 2, "raw")
    index = shards.read_index(tmp_path / "shard", 2)
    with pytest.raises(UserError, match="chunk 1 is not the one that was written"):
        list(shards.read_chunks(tmp_path / "shard", index, [1], [0], "raw", 3))


def test_a_good_chunk_that_is_not_the_expected_one_is_refused(tmp_path: Path) -> None:
    first, second = shards.write_shard(tmp_path / "shard", [b"one", b"two"], 2, "raw")
    index = shards.read_index(tmp_path / "shard", 2)
    with pytest.raises(UserError, match="chunk 0 is not the one that was written"):
        list(shards.read_chunks(tmp_path / "shard", index, [0], [second], "raw", 3))
    assert list(shards.read_chunks(tmp_path / "shard", index, [0], [first], "raw", 3)) == [b"one"]


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK + 1])
@pytest.mark.parametrize("compression", ENCODINGS)
def test_a_chunk_of_another_size_is_refused(tmp_path: Path, compression: str, size: int) -> None:
    sums = shards.write_shard(tmp_path / "shard", [bytes(size)], 1, compression)
    line = refused(lambda: read_shard(tmp_path / "shard", 1, sums, compression))
    assert "shard: damaged: chunk 0 does not hold the 60 bytes of a pair" in line


def test_a_shard_that_cannot_be_written_to_its_end_does_not_appear(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise OSError("disk full")

    with pytest.raises(
        UserError,
        match=r"c/shard: cannot be written: disk full; it takes 67\.1 MB, "
        r"[0-9,.]+ MB are free; .* the last checkpoint, if there is one$",
    ):
        shards.write_shard(tmp_path / "c" / "shard", chunks(), 2, "raw")
    assert not (tmp_path / "c" / "shard").exists()


def read_shard(path: Path, slots: int, sums: list[int], compression: str) -> list[bytes]:
    index = shards.read_index(path, slots)
    return list(shards.read_chunks(path, index, range(slots), sums, compression, CHUNK))


@given(st.binary(max_size=200), st.integers(1, 5), st.sampled_from(ENCODINGS))
@examples
def test_bytes_that_are_no_shard_are_refused(tmp_path: Path, content: bytes, slots: int, compression: str) -> None:
    (tmp_path / "shard").write_bytes(content)
    line = refused(lambda: read_shard(tmp_path / "shard", slots, [0] * slots, compression))
    assert line.startswith(f"{tmp_path / 'shard'}: ")


numbers = st.integers(0, 150) | st.sampled_from([2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 4])


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=2), st.sampled_from(ENCODINGS))
@examples
def test_wherever_an_index_points_chunks_are_right_or_refused(
    tmp_path: Path, entries: list[tuple[int, int]], compression: str
) -> None:
    chunks = [bytes([number]) * CHUNK for number in (1, 2)]
    path = tmp_path / "shard"
    sums = shards.write_shard(path, chunks, 2, compression)
    index = np.array(entries, dtype="<u8").tobytes()
    body = path.read_bytes()[: -shards.index_bytes(2)]
    path.write_bytes(body + index + struct.pack("<I", shards.checksum(index)))
    read: list[bytes] = []
    line = line_of(lambda: read.extend(read_shard(path, 2, sums, compression)))
    assert read == chunks if line is None else "chunk" in line


def test_the_checksum_is_crc32c() -> None:
    assert shards.checksum(b"123456789") == 0xE3069283  # the check value of the CRC catalogue
