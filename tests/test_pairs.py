"""Sets of pairs: what is written is what is read, in any order and by Zarr, too."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from stages.pairs.layout import IGNORED, Block, Layout, PixelClass, has_foreground
from stages.pairs.read import Pairs, prefetch
from stages.pairs.write import copy_rows, create, finish, write_shard
from stages.pipeline.errors import UserError
from tests.sets import random_pairs, same, shards_of, tree, write_set

SHARD_ROWS = 3
COUNT = 8  # two full shards and one that is not


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    with shards_of(SHARD_ROWS):
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, small_shards: None) -> Path:
    """A set that is not to be changed."""
    path = tmp_path_factory.mktemp("written") / "set.zarr"
    write_set(path, *random_pairs(COUNT))
    return path


def labelled_pairs(count: int, classes: int) -> Block:
    labels = np.random.default_rng(0).integers(0, classes, (count, 1)).astype(np.uint8)
    return Block(random_pairs(count).images, labels)


def some(pairs: Block, rows: list[int]) -> Block:
    return Block(pairs.images[rows], pairs.targets[rows])


@given(
    pairs=st.builds(
        random_pairs,
        st.integers(1, 12),
        st.integers(1, 6),
        st.integers(1, 6),
        st.sampled_from(["uint8", "float32"]),
        st.integers(0, 1000),
    ),
    shard_rows=st.integers(1, 5),
    data=st.data(),
)
def test_any_rows_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, pairs: Block, shard_rows: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("set") / "set.zarr"
    rows = data.draw(st.lists(st.integers(0, len(pairs.images) - 1), max_size=20), label="rows")
    with shards_of(shard_rows):
        opened = write_set(path, *pairs)
        assert opened.layout == Layout(len(pairs.images), pairs.images.shape[1:], str(pairs.images.dtype))
        assert len(opened) == len(pairs.images)
        assert same(opened.read(rows), some(pairs, rows))
        assert same(opened.read(range(len(opened))), pairs)
    group: Any = zarr.open_group(path, mode="r")
    assert same(Block(group["images"][...], group["masks"][...]), pairs)
    assert len(list((path / "images" / "c").glob("*/0/0/0"))) == -(-len(pairs.images) // shard_rows)


def test_the_set_is_a_zarr_group_that_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "set.zarr"
    write_set(path, *random_pairs(COUNT), dataset="ellipses", parameters={"radius_min": 10})
    group = zarr.open_group(path, mode="r", zarr_format=3)
    assert dict(group.attrs) == {
        "format": "traincore.pairs", "version": 2, "dataset": "ellipses", "parameters": {"radius_min": 10}
    }  # fmt: skip
    for name, channels, scale in (("images", 3, 255), ("masks", 1, 1)):
        array: Any = group[name]
        assert (array.shape, array.dtype) == ((COUNT, 4, 5, channels), np.uint8)
        assert (array.chunks, array.shards) == ((1, 4, 5, channels), (SHARD_ROWS, 4, 5, channels))
        assert array.metadata.dimension_names == ("pair", "row", "column", "channel")
        assert array.attrs["scale"] == scale
    assert Pairs(path).attributes == dict(group.attrs)


def test_labels_stand_where_masks_would(tmp_path: Path) -> None:
    pairs = labelled_pairs(COUNT, 7)
    opened = write_set(tmp_path / "set.zarr", *pairs, classes=7)
    assert (opened.layout.classes, opened.layout.target, opened.layout.target_shape) == (7, "labels", (1,))
    assert same(opened.read([7, 0, 3]), some(pairs, [7, 0, 3]))
    group: Any = zarr.open_group(tmp_path / "set.zarr", mode="r")
    assert sorted(group.array_keys()) == ["checksums", "images", "labels"]
    assert np.array_equal(group["labels"][...], pairs.targets)
    assert (group["labels"].attrs["classes"], group["labels"].metadata.dimension_names) == (7, ("pair", "label"))
    copy_rows(opened, np.array([5, 2]), tmp_path / "copy.zarr", {})
    assert same(Pairs(tmp_path / "copy.zarr").read([0, 1]), some(pairs, [5, 2]))


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 255), ("float32", 1)])
def test_the_scale_takes_stored_values_to_1(tmp_path: Path, dtype: str, scale: float) -> None:
    pairs = write_set(tmp_path / "set.zarr", *random_pairs(2, dtype=dtype))
    assert pairs.layout.scale == scale
    assert zarr.open_array(tmp_path / "set.zarr" / "images", mode="r").attrs["scale"] == scale


@pytest.mark.parametrize(
    ("size", "dtype", "files"),
    [(128, "uint8", 20), (128, "float32", 30), (768, "uint8", 300), (8192, "float32", 10**4)],
)
def test_ten_thousand_pairs_are_few_files_of_a_size_that_a_worker_holds(size: int, dtype: str, files: int) -> None:
    with shards_of(512):
        layout = Layout(10_000, (size, size, 3), dtype)
        assert layout.shard_count <= files
        pair_bytes = 3 * size**2 * np.dtype(dtype).itemsize
        assert layout.shard_rows == 1 or layout.shard_rows * pair_bytes <= 64 * 2**20
        assert [row for shard in range(layout.shard_count) for row in layout.shard_range(shard)] == list(range(10_000))


def test_equal_data_give_equal_files_in_whatever_order_shards_are_written(written: Path, tmp_path: Path) -> None:
    path, pairs, layout = tmp_path / "set.zarr", random_pairs(COUNT), Pairs(written).layout
    create(path, layout, {})
    parts = {shard: write_shard(path, layout, shard, some(pairs, [*layout.shard_range(shard)])) for shard in (2, 0, 1)}
    finish(path, np.concatenate([parts[shard] for shard in range(3)]))
    assert tree(path) == tree(written)


def test_positions_count_the_rows_of_an_order(written: Path) -> None:
    plain = Pairs(written)
    other = plain.in_order(np.array([5, 2, 7]))
    assert (len(plain), len(other)) == (COUNT, 3)
    assert same(other.read([2, 0]), plain.read([7, 5]))
    assert plain.order.tolist() == list(range(COUNT))
    assert plain.digest == other.digest


def test_the_digest_of_the_first_rows_is_that_of_a_set_of_them_alone(written: Path, tmp_path: Path) -> None:
    for count in (1, 4, 7):
        fewer = write_set(tmp_path / f"{count}.zarr", *some(random_pairs(COUNT), [*range(count)]))
        assert fewer.digest == Pairs(written).digest_of(count) != Pairs(written).digest


def test_a_copy_of_some_rows_keeps_pairs_and_tells_where_they_stood(written: Path, tmp_path: Path) -> None:
    rows = np.array([6, 0, 4, 1])
    copy_rows(Pairs(written), rows, tmp_path / "copy.zarr", {"core_of": "set"})
    copy = Pairs(tmp_path / "copy.zarr")
    assert same(copy.read(range(4)), Pairs(written).read(rows))
    assert copy.rows_of_source().tolist() == rows.tolist()
    zarr_rows: Any = zarr.open_array(tmp_path / "copy.zarr" / "rows", mode="r")
    assert zarr_rows[...].tolist() == rows.tolist()
    assert copy.attributes["core_of"] == "set"


def test_a_row_past_the_end_is_refused(written: Path) -> None:
    with pytest.raises(IndexError):
        Pairs(written).read([COUNT])


# Streams


def test_a_stream_gives_what_reading_gives(written: Path) -> None:
    pairs = Pairs(written)
    blocks = [[0, 1, 2], [7], [], [3, 3], [6, 5, 4]]
    streamed = list(pairs.stream(blocks))
    assert len(streamed) == len(blocks)
    assert all(same(block, pairs.read(positions)) for block, positions in zip(streamed, blocks, strict=True))


def test_a_stream_gives_what_is_good_before_it_fails_on_what_is_not(tmp_path: Path) -> None:
    pairs = write_set(tmp_path / "set.zarr", *random_pairs(COUNT))
    (tmp_path / "set.zarr/masks/c/1/0/0/0").unlink()
    stream = pairs.stream([[0, 1], [2, 3], [6, 7]])
    assert same(next(stream), pairs.read([0, 1]))
    with pytest.raises(UserError, match=r"masks/c/1/0/0/0: cannot be read: No such file .*; `dvc checkout --force "):
        next(stream)
    assert list(stream) == []


def test_any_error_of_the_reading_thread_comes_out_where_the_stream_is_used() -> None:
    def interrupted() -> Block:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(prefetch([lambda: random_pairs(1), interrupted]))


def test_a_stream_that_is_left_ends_its_thread_and_reads_no_more() -> None:
    before = threading.active_count()
    reads: list[int] = []

    def read(number: int) -> Block:
        reads.append(number)
        return random_pairs(1)

    endless: Iterator[Callable[[], Block]] = (lambda n=n: read(n) for n in itertools.count())  # type: ignore[misc]
    stream = prefetch(endless)
    next(stream)
    assert threading.active_count() == before + 1
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(reads) <= 4


CLASSES = [PixelClass("background", 0, "#000000"), PixelClass("road", 7, "#804080"), PixelClass("car", 26, "#00008e")]


def test_masks_of_classes_keep_their_classes_and_those_of_a_copy_are_the_same(tmp_path: Path) -> None:
    images, _ = random_pairs(COUNT)
    masks = np.random.default_rng(0).choice(np.array([0, 1, 2, IGNORED], np.uint8), (COUNT, 4, 5, 1))
    opened = write_set(tmp_path / "set.zarr", images, masks, pixel_classes=CLASSES)
    assert (opened.layout.kind, opened.layout.classes, opened.layout.prediction_shape) == ("classes", 3, (4, 5, 3))
    assert opened.classes == CLASSES
    assert np.array_equal(opened.read(range(COUNT)).targets, masks)
    copy_rows(opened, np.array([5, 2]), tmp_path / "copy.zarr", {"core_of": opened.attributes})
    copied = Pairs(tmp_path / "copy.zarr")
    assert copied.classes == CLASSES
    assert np.array_equal(copied.read([0, 1]).targets, masks[[5, 2]])


def test_masks_of_0_and_1_have_no_classes(tmp_path: Path) -> None:
    opened = write_set(tmp_path / "set.zarr", *random_pairs(COUNT))
    assert (opened.layout.kind, opened.classes) == ("masks", [])


def test_foreground_is_any_class_that_is_not_ignored() -> None:
    masks = np.zeros((4, 3, 3, 1), np.uint8)
    masks[1, 1, 1], masks[2, 0, 0], masks[3, 0, 0], masks[3, 2, 2] = 2, IGNORED, IGNORED, 1
    assert has_foreground(masks).tolist() == [False, True, False, True]
