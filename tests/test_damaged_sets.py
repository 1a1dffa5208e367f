"""Damaged sets of pairs: data are right, or one line names the place and how to restore it."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from stages.pairs.layout import IGNORED, Block, PixelClass
from stages.pairs.read import Pairs
from stages.pipeline.errors import UserError
from tests.damage import line_of
from tests.sets import put_back, random_pairs, same, shards_of, tree, write_set

SHARD_ROWS = 3
COUNT = 8  # two full shards and one that is not
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
OF_VALUES = [name for name in FILES if "/c/" in name]


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    with shards_of(SHARD_ROWS):
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, small_shards: None) -> Path:
    """A good set; whoever damages it puts it back."""
    path = tmp_path_factory.mktemp("sound") / "set.zarr"
    write_set(path, *random_pairs(COUNT))
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, small_shards: None) -> Path:
    """Another set of the same shape, not to be changed."""
    path = tmp_path_factory.mktemp("other") / "set.zarr"
    write_set(path, *random_pairs(COUNT, seed=1))
    return path


def read_all(path: Path) -> str | None:
    """Read a set: data are as they were written, or a line names a file of it and the way to get it back."""
    found = []
    line = line_of(lambda: found.append(Pairs(path).read(range(COUNT))))
    if line is None:
        assert same(found[0], random_pairs(COUNT))
    else:
        assert line.startswith(f"{path}")
        restored = f"`dvc checkout --force {os.path.relpath(path)}` restores it, or remove it and run `dvc repro`"
        assert line.endswith(restored)
    return line


# Ways to damage a set


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


def claim(path: Path, count: int, *pair: int) -> None:
    """Make all metadata of a set agree on a shape of its images."""
    rows = max(1, min(SHARD_ROWS, 64 * 2**20 // math.prod(pair)))
    for name, pair_shape in (("images", pair), ("masks", (*pair[:2], 1))):
        edit(path / name, "shape", value=[count, *pair_shape])
        edit(path / name, "chunk_grid", "configuration", "chunk_shape", value=[rows, *pair_shape])
        edit(path / name, "codecs", 0, "configuration", "chunk_shape", value=[1, *pair_shape])
    edit(path / "checksums", "shape", value=[count, 2])
    edit(path / "checksums", "chunk_grid", "configuration", "chunk_shape", value=[count, 2])


def turn_images(path: Path) -> None:
    edit(path / "images", "shape", value=[COUNT, 5, 4, 3])
    edit(path / "images", "chunk_grid", "configuration", "chunk_shape", value=[SHARD_ROWS, 5, 4, 3])
    edit(path / "images", "codecs", 0, "configuration", "chunk_shape", value=[1, 5, 4, 3])


def put_a_folder_in_place_of_a_shard(path: Path) -> None:
    (path / "images/c/1/0/0/0").unlink()
    (path / "images/c/1/0/0/0").mkdir()


def put_a_file_in_place_of_images(path: Path) -> None:
    shutil.rmtree(path / "images")
    (path / "images").touch()


def put_an_array_in_place_of_the_set(path: Path) -> None:
    shutil.rmtree(path)
    zarr.create_array(path, shape=(4,), dtype="uint8")


# What is done to a set, and what is said of it.
DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    # Files that are not there, or are none
    "no set": (shutil.rmtree, "set.zarr: missing"),
    "an array in place of the set": (put_an_array_in_place_of_the_set, "set.zarr/zarr.json: not the metadata of a Za"),
    "no metadata": (lambda path: (path / "zarr.json").unlink(), "set.zarr/zarr.json: cannot be read: No such file"),
    "no images": (lambda path: shutil.rmtree(path / "images"), "images/zarr.json: cannot be read: No such file"),
    "a file for images": (put_a_file_in_place_of_images, "images/zarr.json: cannot be read: Not a directory"),
    "no masks": (lambda path: shutil.rmtree(path / "masks"), "masks/zarr.json: cannot be read: No such file"),
    "no checksums": (lambda path: shutil.rmtree(path / "checksums"), "checksums/zarr.json: cannot be read"),
    "no values of checksums": (lambda path: shutil.rmtree(path / "checksums/c"), "checksums/c/0/0: cannot be read"),
    "no shard": (lambda path: (path / "images/c/2/0/0/0").unlink(), "images/c/2/0/0/0: missing"),
    "no shard of masks": (lambda path: (path / "masks/c/1/0/0/0").unlink(), "masks/c/1/0/0/0: missing"),
    "a folder for a shard": (put_a_folder_in_place_of_a_shard, "images/c/1/0/0/0: not a file"),
    # Values
    "an empty shard": (lambda path: (path / "masks/c/0/0/0/0").write_bytes(b""), "masks/c/0/0/0/0: truncated: 0 bytes"),
    "a byte of an image": (lambda path: flip(path / "images/c/1/0/0/0"), "images/c/1/0/0/0: damaged: chunk 0"),
    "a byte of a mask": (lambda path: flip(path / "masks/c/2/0/0/0"), "masks/c/2/0/0/0: damaged: chunk 0"),
    "a byte of an index": (lambda path: flip(path / "images/c/0/0/0/0", -9), "images/c/0/0/0/0: damaged or truncated"),
    "a byte of checksums": (lambda path: flip(path / "checksums/c/0/0"), "checksums/c/0/0: damaged"),
    "swapped shards": (lambda path: swap(path / "images/c/0", path / "images/c/1"), "images/c/0/0/0/0: damaged"),
    "swapped shards, one not full": (lambda path: swap(path / "masks/c/0", path / "masks/c/2"), "masks/c/0/0/0/0"),
    "images for masks": (lambda path: swap(path / "images", path / "masks"), "images/zarr.json: codecs"),
    "values of images for masks": (lambda path: swap(path / "images/c", path / "masks/c"), "0/0/0/0: truncated"),
    # Metadata
    "metadata that are no JSON": (lambda path: flip(path / "zarr.json", 0), "set.zarr/zarr.json: damaged metadata"),
    "metadata that are no text": (lambda path: flip(path / "masks/zarr.json", 9), "masks/zarr.json: damaged metadata"),
    "metadata that are a list": (lambda path: (path / "zarr.json").write_text("[]"), "zarr.json: not the metadata"),
    "Zarr v2": (lambda path: edit(path, "zarr_format", value=2), "zarr.json: not the metadata of a Zarr v3 group"),
    "no attributes": (lambda path: edit(path, "attributes", value={}), "zarr.json: format None"),
    "attributes that are none": (lambda path: edit(path, "attributes", value="x"), "zarr.json: format 'x'"),
    "another format": (
        lambda path: edit(path, "attributes", "format", value="coco"),
        "set.zarr/zarr.json: format 'coco', expected 'traincore.pairs'",
    ),
    "a later version": (
        lambda path: edit(path, "attributes", "version", value=3),
        "set.zarr/zarr.json: version 3 of the format, this Traincore reads version 2",
    ),
    "a version that is no number": (lambda path: edit(path, "attributes", "version", value=True), "version True"),
    "another dtype": (lambda path: edit(path / "images", "data_type", value="int16"), "images/zarr.json: 'int16'"),
    "another dtype of the same family": (edit_dtype_as_zarr_would, "images/c/0/0/0/0: truncated"),
    "another dtype of masks": (
        lambda path: edit(path / "masks", "data_type", value="int8"),
        "masks/zarr.json: dtype 'int8', expected uint8",
    ),
    "no rows": (lambda path: edit(path / "images", "shape", 0, value=0), "images/zarr.json: 'uint8' [0, 4, 5, 3]"),
    "a negative side": (lambda path: edit(path / "images", "shape", 1, value=-4), "zarr.json: 'uint8' [8, -4, 5, 3]"),
    "a side in words": (lambda path: edit(path / "images", "shape", 1, value="4"), "zarr.json: 'uint8' [8, '4', 5, 3]"),
    "no shape": (lambda path: edit(path / "masks", "shape", value=None), "masks/zarr.json: damaged metadata"),
    "more images": (lambda path: edit(path / "images", "shape", 0, value=9), "masks/zarr.json: shape (8, 4, 5, 1), ex"),
    "turned images": (turn_images, "masks/zarr.json: shape (8, 4, 5, 1), expected (8, 5, 4, 1)"),
    "one pair fewer": (lambda path: claim(path, COUNT - 1, 4, 5, 3), "images/c/2/0/0/0: damaged: "),
    "other sides": (lambda path: claim(path, COUNT, 4, 15, 1), "masks/c/0/0/0/0: damaged: chunk 0 does not hold"),
    "a hundred million pairs": (lambda path: claim(path, 10**8, 4, 5, 3), "images/c/2/0/0/0: truncated: "),
    "a million channels": (lambda path: claim(path, COUNT, 4, 5, 10**6), "images/c/0/0/0/0: truncated: "),
    "other shards": (
        lambda path: edit(path / "images", "chunk_grid", "configuration", "chunk_shape", value=[4, 4, 5, 3]),
        "images/zarr.json: shard (4, 4, 5, 3), expected (3, 4, 5, 3)",
    ),
    "other codecs": (
        lambda path: edit(path / "masks", "codecs", 0, "configuration", "codecs", value=[{"name": "bytes"}]),
        "masks/zarr.json: codecs",
    ),
    "big endian": (
        lambda path: edit(path / "checksums", "codecs", 0, "configuration", "endian", value="big"),
        "checksums/zarr.json: byte order 'big', expected little",
    ),
}


@pytest.mark.parametrize(("damage", "named"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_one_line_that_names_the_place(path: Path, damage: Callable[[Path], Any], named: str) -> None:
    with put_back(path):
        damage(path)
        line = read_all(path)
    assert line is not None
    assert named in line


@pytest.mark.parametrize("name", OF_VALUES)
def test_a_file_of_another_set_of_the_same_shape_is_refused(path: Path, other: Path, name: str) -> None:
    with put_back(path):
        shutil.copy(other / name, path / name)
        assert read_all(path) is not None


def test_one_pair_is_read_without_its_damaged_neighbour(path: Path) -> None:
    expected = random_pairs(COUNT)
    with put_back(path):
        flip(path / "images/c/0/0/0/0", 0)  # in the first pair of the shard
        assert same(Pairs(path).read([1, 2]), Block(expected.images[1:3], expected.targets[1:3]))


def test_metadata_beside_those_of_the_arrays_are_not_followed(path: Path) -> None:
    with put_back(path):
        another = json.loads((path / "images/zarr.json").read_text()) | {"data_type": "int8"}
        consolidated = {"kind": "inline", "must_understand": False, "metadata": {"images": another}}
        edit(path, "consolidated_metadata", value=consolidated)  # which Zarr would prefer
        assert read_all(path) is None


@pytest.mark.parametrize("classes", [None, 1, 257, 2.0, "ten", True])
def test_labels_without_a_number_of_classes_are_refused(tmp_path: Path, classes: object) -> None:
    pairs = random_pairs(COUNT)
    write_set(tmp_path / "set.zarr", pairs.images, pairs.targets[:, 0, 0], classes=7)
    edit(tmp_path / "set.zarr/labels", "attributes", "classes", value=classes)
    with pytest.raises(UserError, match=r"labels/zarr\.json: classes .*, expected 2 to 256; `dvc checkout"):
        Pairs(tmp_path / "set.zarr")


def test_a_label_of_no_class_is_refused(tmp_path: Path) -> None:
    pairs = random_pairs(COUNT)
    written = write_set(tmp_path / "set.zarr", pairs.images, pairs.targets[:, 0, 0] * 5, classes=5)
    with pytest.raises(UserError, match=r"labels: damaged: class 5 of 5 classes; `dvc checkout"):
        written.read(range(COUNT))


# Damage at random


def test_the_files_of_a_set_are_known(path: Path) -> None:
    assert sorted(tree(path)) == FILES


@given(name=st.sampled_from(OF_VALUES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_bit_of_a_set_changes_data_unnoticed(path: Path, name: str, place: float, bit: int) -> None:
    with put_back(path):
        content = bytearray((path / name).read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        (path / name).write_bytes(content)
        assert read_all(path) is not None


@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_whatever_byte_changes_data_are_right_or_refused(path: Path, name: str, place: float, byte: int) -> None:
    with put_back(path):
        content = bytearray((path / name).read_bytes())
        content[int(place * len(content))] = byte
        (path / name).write_bytes(content)
        read_all(path)


@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True))
def test_wherever_a_file_is_cut_the_set_is_refused(path: Path, name: str, place: float) -> None:
    with put_back(path):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: int(place * len(content))])
        assert read_all(path) is not None


@given(st.permutations(FILES), st.sampled_from(["another", "swapped", "extended"]))
def test_files_that_are_exchanged_or_extended_are_refused(path: Path, names: list[str], change: str) -> None:
    with put_back(path):
        first, second = (path / name for name in names[:2])
        if change == "another":
            shutil.copy(second, first)
        elif change == "swapped":
            swap(first, second)
        else:
            first.write_bytes(first.read_bytes() + second.read_bytes())
        line = read_all(path)
        if line is None:  # an index at the end of another shard may point to the same places
            assert change == "extended"
            return
        assert any(f"set.zarr/{name}: " in line for name in names[:2])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 20)
    | st.sampled_from([10**6, 10**12, 2**63, 2**64, 10**30, -(10**12)])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["uint8", "float32", "uint16", "<u4", "big", "start", "gzip", "zstd", "bytes", "v2", "regular"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container within a value with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []:
        yield value, key
        yield from places(value[key])


@given(
    st.sampled_from(["", "images", "masks", "checksums"]), st.integers(0, 1000), st.none() | json_values, st.booleans()
)
def test_whatever_metadata_say_data_are_right_or_refused(
    path: Path, name: str, place: int, value: object, drop: bool
) -> None:
    with put_back(path):
        file = path / name / "zarr.json"
        metadata = json.loads(file.read_text())
        every = list(places(metadata))
        container, key = every[place % len(every)]
        if drop:
            del container[key]
        else:
            container[key] = value
        file.write_text(json.dumps(metadata))
        read_all(path)


CLASSES = [PixelClass("background", 0, "#000000"), PixelClass("road", 1, "#804080")]


def test_a_pixel_of_no_class_is_refused_and_an_ignored_one_is_not(tmp_path: Path) -> None:
    pairs = random_pairs(COUNT)
    pairs.targets[3, 1, 1] = IGNORED
    written = write_set(tmp_path / "set.zarr", *pairs, pixel_classes=CLASSES)
    assert written.read(range(COUNT)).targets.max() == IGNORED
    pairs.targets[2, 0, 0] = 2
    damaged = write_set(tmp_path / "damaged.zarr", *pairs, pixel_classes=CLASSES)
    with pytest.raises(UserError, match=r"masks: damaged: class 2 of 2 classes; `dvc checkout"):
        damaged.read(range(COUNT))


@pytest.mark.parametrize("named", [None, 5, [["road"]], [["background", 0, "#000000"]], [["a", "b", "c"]] * 2])
def test_masks_of_classes_without_their_names_are_refused(tmp_path: Path, named: object) -> None:
    written = write_set(tmp_path / "set.zarr", *random_pairs(COUNT), pixel_classes=CLASSES)
    edit(tmp_path / "set.zarr", "attributes", "classes", value=named)
    with pytest.raises(
        UserError, match=r"set\.zarr/zarr\.json: damaged: expected the names of 2 classes; `dvc checkout"
    ):
        _ = Pairs(written.path).classes
