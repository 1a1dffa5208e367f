"""Tiles: how images are cut, scaled or filled up, and how many pairs they give."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stages.datasets.shared.find import LeftOut
from stages.datasets.shared.image import Range
from stages.datasets.shared.mask import Rule, Seen
from stages.datasets.shared.raster import Header
from stages.datasets.shared.tiles import Cut, TileSource, layout_of
from stages.pairs.layout import Block, Origins
from tests.files import black_and_white, make_folder, make_pairs, noise, save
from tests.project import dataset_options
from tests.sets import same
from tests.sources import SIZE, drawn, opened, refusal

fits = st.sampled_from(["tile", "resize", "pad"])
cuts = st.builds(
    lambda size, whole, fit, overlap: Cut(size, whole, fit, overlap % size),
    st.integers(1, 24), st.booleans(), fits, st.integers(0, 23),
)  # fmt: skip
sides = st.integers(1, 100)


def pixels_of(starts: Sequence[int], size: int) -> list[int]:
    return [pixel for start in starts for pixel in range(start, start + size)]


@given(cuts, sides)
def test_tiles_cover_an_image_and_stay_inside(cut: Cut, length: int) -> None:
    cut = cut._replace(whole=False, fit="tile")
    starts = cut.starts(length)
    if length < cut.size:
        assert starts == []
        return
    assert set(pixels_of(starts, cut.size)) == set(range(length))
    steps = np.diff(starts)
    assert (steps[:-1] == cut.size - cut.overlap).all()
    assert ((steps > 0) & (steps <= cut.size - cut.overlap)).all()


@given(cuts, sides)
def test_padded_tiles_cover_an_image_and_none_of_them_is_needless(cut: Cut, length: int) -> None:
    cut = cut._replace(whole=False, fit="pad")
    starts = cut.starts(length)
    stride = cut.size - cut.overlap
    assert starts == [stride * place for place in range(len(starts))]
    assert set(pixels_of(starts, cut.size)) >= set(range(length))
    assert len(starts) == 1 or starts[-2] + cut.size < length


@given(cuts, sides)
def test_images_are_scaled_to_the_nearest_size_of_whole_tiles(cut: Cut, length: int) -> None:
    cut = cut._replace(whole=False, fit="resize")
    starts, scaled, stride = cut.starts(length), cut.scaled(length), cut.size - cut.overlap
    assert starts == list(range(0, scaled - cut.size + 1, stride))
    assert starts[-1] + cut.size == scaled
    others = [scaled + stride, *([scaled - stride] if scaled > cut.size else [])]
    assert all(abs(scaled - length) <= abs(other - length) for other in others)


@given(cuts, sides)
def test_one_tile_an_image_is_the_whole_of_it(cut: Cut, length: int) -> None:
    cut = cut._replace(whole=True)
    fitting = {"tile": length == cut.size, "pad": length <= cut.size, "resize": True}[cut.fit]
    assert cut.starts(length) == [0] * fitting
    assert cut.scaled(length) == (cut.size if cut.fit == "resize" else length)


@given(cuts, sides, sides)
def test_tiles_are_counted_row_by_row(cut: Cut, height: int, width: int) -> None:
    grid = cut.grid(height, width)
    assert (grid.dtype, grid.shape[1:]) == (np.dtype("int32"), (2,))
    assert grid.tolist() == [[top, left] for top in cut.starts(height) for left in cut.starts(width)]


def nearest(mask: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """What a mask is in another size: the pixel that each centre falls into, or either if it falls between two."""
    rows, columns = (
        [
            [centre * old // (2 * new) for centre in range(1, 2 * new, 2)],
            [-(-centre * old // (2 * new)) - 1 for centre in range(1, 2 * new, 2)],
        ]
        for old, new in zip(mask.shape, (height, width), strict=True)
    )
    return [mask[each][:, other] for each in rows for other in columns]


def filled_up(image: np.ndarray, size: int) -> np.ndarray:
    """An image with zeros to its right and below."""
    return np.pad(image, [(0, size), (0, size), *[(0, 0)] * (image.ndim - 2)])


@dataclass(frozen=True)
class Pictures(TileSource):
    """Images and masks in memory, cut into tiles."""

    pictures: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]

    def read(self, file: int, page: int) -> tuple[np.ndarray, np.ndarray, Seen]:
        mask = self.masks[file][:, :, None]
        return self.pictures[file], mask, Seen((), False, int(mask.sum()), mask.size)


@given(cuts, st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3))
def test_pairs_are_what_stands_at_their_places(cut: Cut, sizes: list[tuple[int, int]]) -> None:
    grids = [cut.grid(*size).tolist() for size in sizes]
    assume(any(grids))
    pictures = [noise(*size, seed=place) for place, size in enumerate(sizes)]
    masks = [black_and_white(*size, seed=place) // 255 for place, size in enumerate(sizes)]
    names = [str(place) for place in range(len(sizes))]
    headers, left_out = [Header(*size, 3) for size in sizes], LeftOut(Path(), True)
    layout, tiles = layout_of("train", headers, left_out, cut, dataset_options("folder"))
    assert tiles.tolist() == [[file, *place, 0] for file, grid in enumerate(grids) for place in grid]
    origins = Origins([[name] for name in names], tiles)
    found = Pictures(Path(), layout, origins, left_out, cut, Range(), Rule(), (), pictures, masks)
    block = found.draw(range(layout.count))
    for (file, top, left, _), image, mask in zip(tiles.tolist(), *block, strict=True):
        part = slice(top, top + cut.size), slice(left, left + cut.size)
        size = tuple(map(cut.scaled, sizes[file]))
        wholes = [filled_up(each, cut.size) for each in nearest(masks[file], *size)]
        assert np.any([mask[..., 0] == whole[part] for whole in wholes], axis=0).all()
        if size == sizes[file]:
            assert np.array_equal(image, filled_up(pictures[file], cut.size)[part])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_are_made_smaller_by_means_and_larger_by_what_lies_between(tmp_path: Path, channels: int) -> None:
    large, small = noise(2 * SIZE, 2 * SIZE, channels), noise(SIZE // 2, SIZE // 2, channels)
    small[:, : SIZE // 4], small[:, SIZE // 4 :] = 50, 150
    make_folder(
        tmp_path,
        {"a.png": large, "b.png": small},
        {"a.png": black_and_white(2 * SIZE, 2 * SIZE), "b.png": black_and_white(SIZE // 2, SIZE // 2)},
    )
    first, second = drawn(tmp_path, fit="resize", tile=False).images.astype(float)
    assert np.abs(first - large.reshape(SIZE, 2, SIZE, 2, channels).mean(axis=(1, 3))).max() <= 0.5
    assert (second[:, : SIZE // 4] == 50).all()
    assert (second[:, -SIZE // 4 :] == 150).all()
    assert (np.diff(second, axis=1) >= 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("fit", ["tile", "resize", "pad"])
def test_a_pair_is_the_same_in_whatever_range_it_is_drawn(tmp_path: Path, fit: str, dtype: str) -> None:
    make_pairs(tmp_path, 3, 40, 28)
    found = opened(tmp_path, fit=fit, overlap=4, dtype=dtype)
    count = found.layout.count
    assert count >= 3 * 6
    whole = found.draw(range(count))
    for start in range(count):
        for stop in (start, start + 1, min(count, start + 5)):
            assert same(found.draw(range(start, stop)), Block(*(array[start:stop] for array in whole)))


def test_images_that_give_no_tile_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_pairs(tmp_path, 2)
    make_folder(tmp_path, {"x.png": noise(8, 30)}, {"x.png": black_and_white(8, 30)})
    block = drawn(tmp_path)
    assert len(block.images) == 2
    line = capsys.readouterr().err
    assert line == (
        "warning: 1 images left out, as one of 8×30, since they give no tile of 16×16; "
        "dataset.fit=pad or dataset.fit=resize takes them in\n"
    )
    for fit in ("pad", "resize"):
        assert len(drawn(tmp_path, fit=fit).images) >= 3
    assert capsys.readouterr().err == ""


def test_a_folder_of_which_no_image_gives_a_tile_is_refused(tmp_path: Path) -> None:
    line = refusal(make_pairs(tmp_path, 2, 12, 20), strict=False)
    assert "dataset.image_size is 16: none of 2 images gives a tile of that size, the first has 12×20" in line
    assert "dataset.fit=pad or dataset.fit=resize takes them in" in line


def test_one_tile_an_image_leaves_larger_images_out(tmp_path: Path) -> None:
    assert "none of 2 images gives a tile" in refusal(make_pairs(tmp_path, 2, 32, 32), tile=False)


def test_images_of_different_channels_are_refused_or_left_out(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3)
    save(tmp_path / "images/b.png", noise(SIZE, SIZE, 1))
    assert len(drawn(tmp_path, strict=False).images) == 2
    line = refusal(tmp_path)
    assert "images/b.png: 1 channels, most images have 3, as images/a.png; dataset.strict=false leaves" in line


@pytest.mark.parametrize(("item", "share"), [("train", 0.0), ("test", 1.0)])
def test_as_many_pairs_are_taken_as_asked_for_and_more_than_there_are_refused(
    tmp_path: Path, item: str, share: float
) -> None:
    make_pairs(tmp_path, 2, 32, 32)
    whole = drawn(tmp_path, item, test_share=share)
    some = drawn(tmp_path, item, test_share=share, **{f"{item}_count": 5})
    assert same(some, Block(*(array[:5] for array in whole)))
    assert same(drawn(tmp_path, item, test_share=share, **{f"{item}_count": 8}), whole)
    line = refusal(tmp_path, item, test_share=share, **{f"{item}_count": 9})
    assert f"dataset.{item}_count is 9, allowed is null or at most 8, the tiles of the images to {item}" in line
