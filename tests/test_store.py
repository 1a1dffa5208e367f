"""Sets of pairs: what is written is what is read, by Zarr too, and damage never passes for data."""

import itertools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import shards, store
from stages.errors import UserError
from stages.store import Block, Layout, Pairs

SHARD_ROWS = 3
COUNT = 8  # two full shards and one that is not


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SHARD_ROWS", SHARD_ROWS)
        yield


def random_pairs(count: int, height: int = 4, width: int = 5, dtype: str = "uint8", seed: int = 0) -> Block:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, height, width, 3)) / (255 if dtype == "float32" else 1)
    return Block(images.astype(dtype), random.integers(0, 2, (count, height, width, 1), np.uint8))


def labelled_pairs(count: int, classes: int) -> Block:
    labels = np.random.default_rng(0).integers(0, classes, (count, 1)).astype(np.uint8)
    return Block(random_pairs(count).images, labels)


def write(path: Path, pairs: Block, classes: int | None = None, **attributes: Any) -> Layout:
    count, *shape = pairs.images.shape
    layout = Layout(count, tuple(shape), str(pairs.images.dtype), classes)
    store.create(path, layout, attributes)
    parts = [
        store.write_shard(path, layout, shard, Block(*(array[layout.shard_range(shard)] for array in pairs)))
        for shard in range(layout.shard_count)
    ]
    store.finish(path, np.concatenate(parts))
    return layout


def same(left: Block, right: Block) -> bool:
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(left, right, strict=True)
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, small_shards: None) -> Path:
    """A good set, not to be changed."""
    path = tmp_path_factory.mktemp("good") / "set.zarr"
    write(path, random_pairs(COUNT))
    return path


@pytest.fixture
def damaged(written: Path, tmp_path: Path) -> Path:
    """A copy of it to be damaged."""
    return Path(shutil.copytree(written, tmp_path / "set.zarr"))


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
@settings(deadline=None, max_examples=25)
def test_any_rows_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, pairs: Block, shard_rows: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("set") / "set.zarr"
    rows = data.draw(st.lists(st.integers(0, len(pairs.images) - 1), max_size=20), label="rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SHARD_ROWS", shard_rows)
        layout = write(path, pairs)
        opened = Pairs(path)
        assert opened.layout == layout
        assert len(opened) == len(pairs.images)
        assert same(opened.read(rows), Block(pairs.images[rows], pairs.targets[rows]))
        assert same(opened.read(range(len(opened))), pairs)
    group = zarr.open_group(path, mode="r")
    assert same(Block(np.asarray(group["images"][...]), np.asarray(group["masks"][...])), pairs)  # type: ignore[index]
    assert len(list((path / "images" / "c").glob("*/0/0/0"))) == -(-len(pairs.images) // shard_rows)


def test_the_set_is_a_zarr_group_that_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "set.zarr"
    write(path, random_pairs(COUNT), dataset="ellipses", parameters={"radius_min": 10})
    group = zarr.open_group(path, mode="r", zarr_format=3)
    assert dict(group.attrs) == {
        "format": "traincore.pairs", "version": 1, "dataset": "ellipses", "parameters": {"radius_min": 10}
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
    layout = write(tmp_path / "set.zarr", pairs, classes=7)
    opened = Pairs(tmp_path / "set.zarr")
    assert (opened.layout, opened.layout.target, opened.layout.target_shape) == (layout, "labels", (1,))
    assert same(opened.read([7, 0, 3]), Block(pairs.images[[7, 0, 3]], pairs.targets[[7, 0, 3]]))
    group: Any = zarr.open_group(tmp_path / "set.zarr", mode="r")
    assert sorted(group.array_keys()) == ["checksums", "images", "labels"]
    assert np.array_equal(group["labels"][...], pairs.targets)
    assert (group["labels"].attrs["classes"], group["labels"].metadata.dimension_names) == (7, ("pair", "label"))
    store.copy_rows(opened, np.array([5, 2]), tmp_path / "copy.zarr", {})
    assert same(Pairs(tmp_path / "copy.zarr").read([0, 1]), Block(pairs.images[[5, 2]], pairs.targets[[5, 2]]))


@pytest.mark.parametrize("classes", [None, 1, 257, 2.0, "ten", True])
def test_labels_without_a_number_of_classes_are_refused(tmp_path: Path, classes: object) -> None:
    write(tmp_path / "set.zarr", labelled_pairs(COUNT, 7), classes=7)
    file = tmp_path / "set.zarr/labels/zarr.json"
    metadata = json.loads(file.read_text())
    metadata["attributes"]["classes"] = classes
    file.write_text(json.dumps(metadata))
    with pytest.raises(UserError, match=r"labels/zarr\.json: classes .*, expected 2 to 256; `dvc checkout"):
        Pairs(tmp_path / "set.zarr")


def test_a_label_of_no_class_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "set.zarr", labelled_pairs(COUNT, 7), classes=5)
    with pytest.raises(UserError, match=r"labels: damaged: label 5 of 5 classes; `dvc checkout"):
        Pairs(tmp_path / "set.zarr").read(range(COUNT))


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 255), ("float32", 1)])
def test_the_scale_takes_stored_values_to_1(tmp_path: Path, dtype: str, scale: float) -> None:
    write(tmp_path / "set.zarr", random_pairs(2, dtype=dtype))
    assert Pairs(tmp_path / "set.zarr").layout.scale == scale
    assert zarr.open_array(tmp_path / "set.zarr" / "images", mode="r").attrs["scale"] == scale


@pytest.mark.parametrize(
    ("size", "dtype", "files"),
    [(128, "uint8", 20), (128, "float32", 30), (768, "uint8", 300), (8192, "float32", 10**4)],
)
def test_ten_thousand_pairs_are_few_files_of_a_size_that_a_worker_holds(
    monkeypatch: pytest.MonkeyPatch, size: int, dtype: str, files: int
) -> None:
    monkeypatch.setattr(store, "SHARD_ROWS", 512)
    layout = Layout(10_000, (size, size, 3), dtype)
    assert layout.shard_count <= files
    pair_bytes = 3 * size**2 * np.dtype(dtype).itemsize
    assert layout.shard_rows == 1 or layout.shard_rows * pair_bytes <= 64 * 2**20
    assert [row for shard in range(layout.shard_count) for row in layout.shard_range(shard)] == list(range(10_000))


def test_equal_data_give_equal_files(written: Path, tmp_path: Path) -> None:
    write(tmp_path / "set.zarr", random_pairs(COUNT))
    assert tree(tmp_path / "set.zarr") == tree(written)


def test_shards_may_be_written_in_any_order(written: Path, tmp_path: Path) -> None:
    path, pairs, layout = tmp_path / "set.zarr", random_pairs(COUNT), Pairs(written).layout
    store.create(path, layout, {})
    parts = {
        shard: store.write_shard(path, layout, shard, Block(*(array[layout.shard_range(shard)] for array in pairs)))
        for shard in (2, 0, 1)
    }
    store.finish(path, np.concatenate([parts[shard] for shard in range(3)]))
    assert tree(path) == tree(written)


def test_one_pair_is_read_without_its_neighbours(damaged: Path) -> None:
    shard = damaged / "images/c/0/0/0/0"
    content = bytearray(shard.read_bytes())
    content[0] ^= 1  # in the first pair of the shard
    shard.write_bytes(content)
    expected = random_pairs(COUNT)
    assert same(Pairs(damaged).read([1, 2]), Block(expected.images[1:3], expected.targets[1:3]))


def test_positions_count_the_rows_of_an_order(written: Path) -> None:
    plain = Pairs(written)
    other = plain.in_order(np.array([5, 2, 7]))
    assert (len(plain), len(other)) == (COUNT, 3)
    assert same(other.read([2, 0]), plain.read([7, 5]))
    assert plain.order.tolist() == list(range(COUNT))
    assert plain.digest == other.digest


def test_the_digest_of_the_first_rows_is_that_of_a_set_of_them_alone(written: Path, tmp_path: Path) -> None:
    pairs = random_pairs(COUNT)
    for count in (1, 4, 7):
        write(tmp_path / f"{count}.zarr", Block(pairs.images[:count], pairs.targets[:count]))
        assert Pairs(tmp_path / f"{count}.zarr").digest == Pairs(written).digest_of(count) != Pairs(written).digest


def test_a_copy_of_some_rows_keeps_pairs_and_tells_where_they_stood(written: Path, tmp_path: Path) -> None:
    source = Pairs(written)
    rows = np.array([6, 0, 4, 1])
    store.copy_rows(source, rows, tmp_path / "copy.zarr", {"core_of": "set"})
    copy, plain = Pairs(tmp_path / "copy.zarr"), Pairs(written)
    assert same(copy.read(range(4)), plain.read(rows))
    assert zarr.open_array(tmp_path / "copy.zarr" / "rows", mode="r")[...].tolist() == rows.tolist()  # type: ignore[union-attr]
    assert copy.attributes["core_of"] == "set"


def test_a_stream_gives_what_reading_gives(written: Path) -> None:
    pairs = Pairs(written)
    blocks = [[0, 1, 2], [7], [], [3, 3], [6, 5, 4]]
    streamed = list(pairs.stream(blocks))
    assert len(streamed) == len(blocks)
    assert all(same(block, pairs.read(positions)) for block, positions in zip(streamed, blocks, strict=True))


def test_a_stream_gives_what_is_good_before_it_fails_on_what_is_not(damaged: Path) -> None:
    pairs = Pairs(damaged)
    (damaged / "masks/c/1/0/0/0").unlink()
    stream = pairs.stream([[0, 1], [2, 3], [6, 7]])
    assert same(next(stream), pairs.read([0, 1]))
    with pytest.raises(UserError, match=r"masks/c/1/0/0/0: cannot be read"):
        next(stream)
    assert list(stream) == []


def test_any_error_of_the_reading_thread_comes_out_where_the_stream_is_used() -> None:
    def interrupted() -> Block:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(store.prefetch([lambda: random_pairs(1), interrupted]))


def test_a_stream_that_is_left_ends_its_thread_and_reads_no_more() -> None:
    before = threading.active_count()
    reads: list[int] = []

    def read(number: int) -> Block:
        reads.append(number)
        return random_pairs(1)

    endless: Iterator[Callable[[], Block]] = (lambda n=n: read(n) for n in itertools.count())  # type: ignore[misc]
    stream = store.prefetch(endless)
    next(stream)
    assert threading.active_count() == before + 1
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(reads) <= 4


def test_a_row_past_the_end_is_refused(written: Path) -> None:
    with pytest.raises(IndexError):
        Pairs(written).read([COUNT])


# Damage


def flip(path: Path, offset: int = 5) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def swap(left: Path, right: Path) -> None:
    spare = left.with_name("spare")
    left.rename(spare)
    right.rename(left)
    spare.rename(right)


def edit(path: Path, *keys: str | int, value: Any) -> None:
    """Set a value deep in a zarr.json."""
    metadata = json.loads((path / "zarr.json").read_text())
    target = metadata
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = value
    (path / "zarr.json").write_text(json.dumps(metadata))


def edit_dtype_as_zarr_would(path: Path) -> None:
    edit(path / "images", "data_type", value="float32")
    codec = {"name": "bytes", "configuration": {"endian": "little"}}
    edit(path / "images", "codecs", 0, "configuration", "codecs", 0, value=codec)


def turn_images(path: Path) -> None:
    edit(path / "images", "shape", value=[COUNT, 5, 4, 3])
    edit(path / "images", "chunk_grid", "configuration", "chunk_shape", value=[SHARD_ROWS, 5, 4, 3])
    edit(path / "images", "codecs", 0, "configuration", "chunk_shape", value=[1, 5, 4, 3])


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def drop_a_row(path: Path) -> None:
    for name in ("images", "masks"):
        edit(path / name, "shape", 0, value=COUNT - 1)


def put_a_folder_in_place_of_a_shard(path: Path) -> None:
    shard = path / "images/c/1/0/0/0"
    shard.unlink()
    shard.mkdir()


def write_other_format(path: Path) -> None:
    shutil.rmtree(path)
    zarr.create_array(path, shape=(4,), dtype="uint8")


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a folder that is not there": (shutil.rmtree, "set.zarr: missing"),
    "an empty folder": (empty, "set.zarr/zarr.json: cannot be read"),
    "an array in place of the group": (write_other_format, "set.zarr/zarr.json: not the metadata of a Zarr v3 group"),
    "no metadata of the group": (lambda path: (path / "zarr.json").unlink(), "set.zarr/zarr.json: cannot be read"),
    "broken metadata of the group": (lambda path: flip(path / "zarr.json", 0), "set.zarr/zarr.json: damaged metadata"),
    "metadata that are no text": (
        lambda path: flip(path / "images/zarr.json", 9),
        "images/zarr.json: damaged metadata",
    ),
    "empty metadata": (lambda path: (path / "masks/zarr.json").write_text(""), "masks/zarr.json: damaged metadata"),
    "no images": (lambda path: shutil.rmtree(path / "images"), "images/zarr.json: cannot be read"),
    "no masks": (lambda path: shutil.rmtree(path / "masks"), "masks/zarr.json: cannot be read"),
    "another format": (
        lambda path: edit(path, "attributes", "format", value="coco"),
        "set.zarr/zarr.json: format 'coco', expected 'traincore.pairs'",
    ),
    "no format": (lambda path: edit(path, "attributes", value={}), "set.zarr/zarr.json: format None"),
    "a later version": (
        lambda path: edit(path, "attributes", "version", value=2),
        "set.zarr/zarr.json: version 2 of the format, this Traincore reads version 1",
    ),
    "another dtype": (lambda path: edit(path / "images", "data_type", value="int16"), "images/zarr.json: 'int16'"),
    "another dtype of the same family": (edit_dtype_as_zarr_would, "images/c/0/0/0/0: truncated"),
    "another dtype of masks": (
        lambda path: edit(path / "masks", "data_type", value="int8"),
        "masks/zarr.json: dtype 'int8', expected uint8",
    ),
    "more rows than there are": (lambda path: edit(path / "images", "shape", 0, value=9), "masks/zarr.json: shape (8,"),
    "fewer rows of masks": (lambda path: edit(path / "masks", "shape", 0, value=7), "masks/zarr.json: shape (7,"),
    "fewer rows of both": (
        drop_a_row,
        "images/c/2/0/0/0: damaged: ",
    ),
    "turned images": (turn_images, "masks/zarr.json: shape (8, 4, 5, 1), expected (8, 5, 4, 1)"),
    "another size of shards": (
        lambda path: edit(path / "images", "chunk_grid", "configuration", "chunk_shape", value=[4, 4, 5, 3]),
        "images/zarr.json: shard (4, 4, 5, 3), expected (3, 4, 5, 3)",
    ),
    "other codecs": (
        lambda path: edit(path / "masks", "codecs", 0, "configuration", "codecs", value=[{"name": "bytes"}]),
        "masks/zarr.json: codecs",
    ),
    "no checksums": (lambda path: shutil.rmtree(path / "checksums"), "checksums/zarr.json: cannot be read"),
    "no values of checksums": (lambda path: shutil.rmtree(path / "checksums/c"), "checksums/c/0/0: cannot be read"),
    "damaged checksums": (lambda path: flip(path / "checksums/c/0/0"), "checksums/c/0/0: damaged"),
    "broken metadata of checksums": (
        lambda path: flip(path / "checksums/zarr.json", 0),
        "checksums/zarr.json: damaged",
    ),
    "a byte of an image": (lambda path: flip(path / "images/c/1/0/0/0"), "images/c/1/0/0/0: damaged: chunk 0"),
    "a byte of a mask": (lambda path: flip(path / "masks/c/2/0/0/0"), "masks/c/2/0/0/0: damaged: chunk 0"),
    "a byte of an index": (lambda path: flip(path / "images/c/0/0/0/0", -9), "images/c/0/0/0/0: damaged"),
    "no shard": (lambda path: (path / "images/c/2/0/0/0").unlink(), "images/c/2/0/0/0: missing"),
    "an empty shard": (lambda path: (path / "masks/c/0/0/0/0").write_bytes(b""), "masks/c/0/0/0/0: truncated: 0 bytes"),
    "a folder in place of a shard": (
        put_a_folder_in_place_of_a_shard,
        "images/c/1/0/0/0: not a file",
    ),
    "swapped shards": (lambda path: swap(path / "images/c/0", path / "images/c/1"), "images/c/0/0/0/0: damaged"),
    "swapped shards, one not full": (lambda path: swap(path / "masks/c/0", path / "masks/c/2"), "masks/c/0/0/0/0"),
    "images for masks": (lambda path: swap(path / "images", path / "masks"), "images/zarr.json: codecs"),
    "values of images for masks": (
        lambda path: swap(path / "images/c", path / "masks/c"),
        "images/c/0/0/0/0: truncated",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line_that_names_the_place_and_how_to_restore_it(
    damaged: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(damaged.parent)
    do, named = DAMAGE[damage]
    do(damaged)
    with pytest.raises(UserError) as caught:
        Pairs(Path("set.zarr")).read(range(COUNT))
    line = str(caught.value)
    assert named in line
    assert len(line.splitlines()) == 1
    assert line.endswith("`dvc checkout --force set.zarr` restores it, or remove it and run `dvc repro`")


@contextmanager
def put_back(path: Path) -> Iterator[bytearray]:
    """The bytes of a file; whatever is done to the file is undone."""
    content = path.read_bytes()
    try:
        yield bytearray(content)
    finally:
        path.write_bytes(content)


def read_or_refuse(path: Path) -> Block | None:
    try:
        return Pairs(path).read(range(COUNT))
    except UserError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  refusing is one of two good ends
        return None


FILES = sorted(
    f"{name}{part}"
    for name, shard_parts in {
        "": [],
        "images/": [f"c/{shard}/0/0/0" for shard in range(3)],
        "masks/": [f"c/{shard}/0/0/0" for shard in range(3)],
        "checksums/": ["c/0/0"],
    }.items()
    for part in ["zarr.json", *shard_parts]
)


def test_the_files_of_a_set_are_known(written: Path) -> None:
    assert sorted(tree(written)) == FILES


@given(
    name=st.sampled_from([name for name in FILES if "/c/" in name]),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
@settings(deadline=None, max_examples=80)
def test_no_bit_of_a_shard_can_change_unnoticed(written: Path, name: str, place: float, bit: int) -> None:
    with put_back(written / name) as content:
        content[int(place * len(content))] ^= 1 << bit
        (written / name).write_bytes(content)
        assert read_or_refuse(written) is None


@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
@settings(deadline=None, max_examples=150)
def test_whatever_byte_changes_data_are_right_or_refused(written: Path, name: str, place: float, byte: int) -> None:
    with put_back(written / name) as content:
        content[int(place * len(content))] = byte
        (written / name).write_bytes(content)
        found = read_or_refuse(written)
        assert found is None or same(found, random_pairs(COUNT))


@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=60)
def test_wherever_a_file_is_cut_the_set_is_refused(written: Path, name: str, place: float) -> None:
    with put_back(written / name) as content:
        (written / name).write_bytes(content[: int(place * len(content))])
        assert read_or_refuse(written) is None


# One shard


@given(
    chunks=st.integers(1, 40).flatmap(lambda size: st.lists(st.binary(min_size=size, max_size=size), max_size=6)),
    spare=st.integers(0, 3),
    compression=st.sampled_from(["raw", "zstd"]),
    data=st.data(),
)
@settings(deadline=None, max_examples=40)
def test_chunks_of_a_shard_are_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], spare: int, compression: str, data: st.DataObject
) -> None:
    path, slots = tmp_path_factory.getbasetemp() / "shard", max(1, len(chunks) + spare)
    checksums = shards.write_shard(path, chunks, slots, compression)
    index, size = shards.read_index(path, slots), len(chunks[0]) if chunks else 1
    wanted = data.draw(st.lists(st.integers(0, len(chunks) - 1), max_size=6) if chunks else st.just([]))
    read = shards.read_chunks(path, index, wanted, [checksums[slot] for slot in wanted], compression, size)
    assert list(read) == [chunks[slot] for slot in wanted]


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


def test_a_shard_that_zarr_wrote_is_read_too(tmp_path: Path) -> None:
    pairs = random_pairs(COUNT)
    layout = Layout(COUNT, (4, 5, 3), "uint8")
    store.create(tmp_path / "set.zarr", layout, {})
    array: Any = zarr.open_array(tmp_path / "set.zarr" / "images", mode="r+")
    array[...] = pairs.images
    path = tmp_path / "set.zarr/images/c/1/0/0/0"
    raw = [pair.tobytes() for pair in pairs.images[3:6]]
    index = shards.read_index(path, SHARD_ROWS)
    read = shards.read_chunks(path, index, range(3), [shards.checksum(chunk) for chunk in raw], "raw", 60)
    assert list(read) == raw


def test_a_shard_that_cannot_be_written_to_its_end_does_not_appear(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise OSError("disk full")

    with pytest.raises(
        UserError,
        match=r"c/shard: cannot be written: disk full; it takes 67\.1 MB, "
        r"[0-9,.]+ MB are free; .* the last checkpoint$",
    ):
        shards.write_shard(tmp_path / "c" / "shard", chunks(), 2, "raw")
    assert not (tmp_path / "c" / "shard").exists()


def test_the_checksum_is_crc32c() -> None:
    assert shards.checksum(b"123456789") == 0xE3069283  # the check value of the CRC catalogue
