"""Origins: a set knows the file and the place of each pair, and keeps them when rows are copied."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image

from stages import generate
from stages.datasets.shared.source import open_source
from stages.datasets.shared.tiles import TileSource
from stages.pairs.layout import Origins
from stages.pairs.read import Pairs
from stages.pairs.write import _write_column, copy_rows, create, finish
from tests.damage import refused
from tests.files import make_pairs
from tests.project import dataset_options
from tests.sets import put_back, shards_of, write_set
from tests.sources import SIZE, opened

Damage = Callable[[Path], object]


def write(path: Path, found: TileSource) -> Pairs:
    """A set as stage `generate` writes it."""
    checksums, _ = generate._write_shards(found, path, 1, "test")
    create(path, found.layout, {})
    finish(path, checksums, origins=found.origins)
    return Pairs(path)


@pytest.fixture(scope="module")
def small_shards() -> Iterator[None]:
    with shards_of(5):
        yield


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory, small_shards: None) -> tuple[Path, Pairs]:
    """A folder and the set of its tiles, in several shards; whoever damages it puts it back."""
    folder = make_pairs(tmp_path_factory.mktemp("folder"), 4, 40, 28)
    return folder, write(folder.parent / "set.zarr", opened(folder, overlap=4))


def named(origins: Origins | None) -> list[tuple[str, str, int, int]]:
    """Of each pair its image, its mask, top and left."""
    assert origins is not None
    return [(*origins.files[file], top, left) for file, top, left, _ in origins.tiles.tolist()]


def check_origins(folder: Path, pairs: Pairs) -> None:
    """Check that each pair is what stands where its origin says."""
    block = pairs.read(range(len(pairs)))
    for (image, mask, top, left), *pair in zip(named(pairs.origins()), *block, strict=True):
        part = slice(top, top + SIZE), slice(left, left + SIZE)
        assert np.array_equal(np.asarray(Image.open(folder / image))[part], pair[0])
        assert np.array_equal(np.asarray(Image.open(folder / mask))[part] // 255, pair[1][..., 0])


def test_origins_name_the_files_and_places_of_pairs(cut: tuple[Path, Pairs]) -> None:
    folder, pairs = cut
    assert len(pairs) == 4 * 3 * 2
    assert named(pairs.origins()) == named(opened(folder, overlap=4).origins)
    check_origins(folder, pairs)


@pytest.mark.parametrize("rows", [[0], [1], [23, 0, 17], [9, 8, 8, 20], range(24)])
def test_rows_that_are_copied_keep_their_origins(cut: tuple[Path, Pairs], tmp_path: Path, rows: Sequence[int]) -> None:
    folder, pairs = cut
    copy_rows(pairs, np.array(rows), tmp_path / "copy.zarr", {})
    copied = Pairs(tmp_path / "copy.zarr")
    every = named(pairs.origins())
    assert named(copied.origins()) == [every[row] for row in rows]
    check_origins(folder, copied)


def test_a_set_that_comes_from_no_files_has_no_origins(tmp_path: Path) -> None:
    found = open_source(dataset_options("ellipses", image_size=64, train_count=2), "train")
    pairs = write_set(tmp_path / "set.zarr", *found.draw(range(2)), origins=found.origins)
    assert pairs.origins() is None


def rewritten(column: str, values: np.ndarray) -> Damage:
    """Has another column in place of the one that was written, with checksums that are right."""

    def damage(path: Path) -> None:
        shutil.rmtree(path / column)
        _write_column(zarr.open_group(path, mode="r+"), column, values)

    return damage


def files_of(content: object) -> Damage:
    text = content if isinstance(content, str) else json.dumps(content)
    return rewritten("files", np.frombuffer(text.encode(), np.uint8))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def with_shape(column: str, shape: list[int]) -> Damage:
    def damage(path: Path) -> None:
        file = path / column / "zarr.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "shape": shape}))

    return damage


SPOILED: dict[str, Any] = {
    "tiles: a bit": lambda path: flip(path / "tiles/c/0/0"),
    "tiles: the end": lambda path: cut_off(path / "tiles/c/0/0"),
    "tiles: values": lambda path: (path / "tiles/c/0/0").unlink(),
    "tiles: metadata": lambda path: (path / "tiles/zarr.json").unlink(),
    "tiles: shape": with_shape("tiles", [23, 3]),
    "tiles: all": lambda path: shutil.rmtree(path / "tiles"),
    "tiles: below zero": rewritten("tiles", np.full((24, 3), -1, np.int32)),
    "tiles: beyond the files": rewritten("tiles", np.full((24, 3), 4, np.int32)),
    "tiles: dtype": rewritten("tiles", np.zeros((24, 3), np.int64)),
    "files: a bit": lambda path: flip(path / "files/c/0"),
    "files: the end": lambda path: cut_off(path / "files/c/0"),
    "files: values": lambda path: (path / "files/c/0").unlink(),
    "files: metadata": lambda path: (path / "files/zarr.json").unlink(),
    "files: shape": with_shape("files", [7]),
    "files: axes": with_shape("files", [8, 16]),
    "files: all": lambda path: shutil.rmtree(path / "files"),
    "files: no JSON": files_of("[["),
    "files: no names": files_of([["a"], ["b"], [1], ["d"]]),
    "files: no lists": files_of(["a", "b", "c", "d"]),
    "files: empty lists": files_of([[], [], [], []]),
    "files: too few": files_of([["a"], ["b"]]),
}


@pytest.mark.parametrize("damage", SPOILED.values(), ids=SPOILED)
def test_origins_that_are_damaged_end_in_one_line_that_says_how_to_restore_them(
    cut: tuple[Path, Pairs], damage: Damage
) -> None:
    path = cut[1].path
    with put_back(path):
        damage(path)
        line = refused(Pairs(path).origins)
    assert line.startswith(str(path))
    assert "`dvc checkout --force " in line
