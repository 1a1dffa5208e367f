"""The drawing, against skimage and the facts of DESIGN.md over many random pairs."""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import ellipse, polygon

from stages.datasets.ellipses import Ellipses, Shapes
from stages.datasets.shared.source import open_source
from stages.pairs.layout import Block, Layout
from tests.project import dataset_options
from tests.sets import same

SIZE = 128
Pixels = set[tuple[int, int]]

pair_sets = st.builds(
    lambda seed, size, radii, interference, dtype: ellipses(seed, size, min(radii), max(radii), interference, dtype),
    st.integers(0, 2**63 - 1),
    st.sampled_from([64, 96, 128]),
    st.tuples(st.integers(2, 30), st.integers(2, 30)),
    st.sampled_from(["rectangle", "triangle", "none"]),
    st.sampled_from(["uint8", "float32"]),
)


def ellipses(
    seed: int = 1,
    size: int = SIZE,
    radius_min: float = 10,
    radius_max: float = 20,
    interference: str = "rectangle",
    dtype: str = "uint8",
    count: int = 10_000,
) -> Ellipses:
    return Ellipses(Layout(count, (size, size, 3), dtype), seed, radius_min, radius_max, interference)


def shapes_of(pairs: Ellipses, rows: range) -> list[Shapes]:
    """The geometry pair by pair."""
    return [Shapes(*pair) for pair in zip(*pairs.shapes(rows), strict=True)]


def filled(vertices: Iterable[tuple[int, int]], size: int) -> Pixels:
    corners = np.array(list(vertices))
    return set(zip(*(axis.tolist() for axis in polygon(corners[:, 0], corners[:, 1], (size, size))), strict=True))


def ellipse_pixels(shapes: Shapes, size: int) -> Pixels:
    axes = ellipse(*shapes.centre, *shapes.radii, shape=(size, size), rotation=shapes.rotation)
    return set(zip(*(axis.tolist() for axis in axes), strict=True))


def interference_pixels(shapes: Shapes, taken: Pixels, kind: str, size: int) -> Pixels:
    """The other shape as DESIGN.md tells it: drawn, and pushed away where it shares rows and columns."""
    (top, left), (height, width) = shapes.corner, shapes.sides
    rectangle = [(top, left), (top, left + width), (top + height, left + width), (top + height, left)]
    before = filled(rectangle, size)
    shared = [{pixel[axis] for pixel in before} & {pixel[axis] for pixel in taken} for axis in (0, 1)]
    move = [0, 0]
    if all(shared):
        for axis in (0, 1):
            away = np.mean([pixel[axis] for pixel in before]) > np.mean(list(shared[axis]))
            move[axis] = (max(shared[axis]) - min(shared[axis]) + 1) * (1 if away else -1)
    moved = [(row + move[0], column + move[1]) for row, column in rectangle]
    return filled(moved if kind == "rectangle" else [moved[0], moved[2], moved[3]], size)


def as_pixels(mask: np.ndarray) -> Pixels:
    return {(row, column) for row, column in np.argwhere(mask).tolist()}


def noise_free(pairs: Ellipses, row: int) -> np.ndarray:
    """Which pixels of an image are bright: what is left of it without the noise."""
    brighter = pairs.draw(range(row, row + 1)).images[0].astype(float) - pairs._dark_noise(range(row, row + 1))[0]
    bright: np.ndarray = brighter > 0.1
    assert np.allclose(brighter, bright * (64 if pairs.layout.dtype == "uint8" else 0.25), atol=1e-6)
    assert (bright == bright[:, :, :1]).all()
    return bright[:, :, 0]


def check_drawing(pairs: Ellipses, rows: range) -> None:
    block, size = pairs.draw(rows), pairs.layout.image_shape[0]
    for row, shapes, mask in zip(rows, shapes_of(pairs, rows), block.targets, strict=True):
        taken = ellipse_pixels(shapes, size)
        assert as_pixels(mask[:, :, 0]) == taken
        drawn = set(taken)
        if pairs.interference != "none":
            drawn |= interference_pixels(shapes, taken, pairs.interference, size)
        bright = noise_free(pairs, row)
        assert as_pixels(bright if shapes.bright_shapes else ~bright) == drawn


@pytest.mark.parametrize("interference", ["rectangle", "triangle", "none"])
def test_the_article_s_pairs_are_drawn_as_skimage_draws_them(interference: str) -> None:
    check_drawing(ellipses(interference=interference), range(100))


@given(pair_sets, st.integers(0, 10**6))
def test_pairs_of_any_size_are_drawn_as_skimage_draws_them(pairs: Ellipses, start: int) -> None:
    check_drawing(pairs, range(start, start + 3))


def test_shapes_lie_where_the_article_puts_them() -> None:
    shapes = shapes_of(ellipses(), range(20_000))
    ranges: dict[Callable[[Shapes], Any], tuple[float, float]] = {
        lambda s: s.centre[0]: (20, 108),
        lambda s: s.centre[1]: (20, 108),
        lambda s: s.radii[0]: (10, 20),
        lambda s: s.radii[1]: (10, 20),
        lambda s: s.rotation: (0, 2 * np.pi),
    }
    for value, (low, high) in ranges.items():
        assert_uniform([value(each) for each in shapes], low, high)
    rounded: dict[Callable[[Shapes], int], tuple[int, int]] = {
        lambda s: s.corner[0]: (20, 108),
        lambda s: s.corner[1]: (20, 108),
        lambda s: s.sides[0]: (10, 40),
        lambda s: s.sides[1]: (10, 40),
    }
    for number, (least, most) in rounded.items():
        counts = np.bincount([number(each) for each in shapes], minlength=most + 1)
        assert counts[:least].sum() == 0
        assert len(counts) == most + 1
        weights = np.ones(most - least + 1)
        weights[[0, -1]] = 0.5  # half as much is rounded to the ends
        assert_expected(counts[least:], weights)


def test_shapes_of_a_pair_and_of_pairs_are_independent() -> None:
    shapes = shapes_of(ellipses(), range(20_000))
    table = np.array(
        [[*s.centre, *s.radii, s.rotation, *s.corner, *s.sides, s.bright_shapes] for s in shapes], dtype=float
    )
    both = np.hstack([table[:-1], table[1:]])  # a pair and the next one
    correlation = np.corrcoef(both.T) - np.eye(both.shape[1])
    assert np.abs(correlation).max() < 5 / np.sqrt(len(both))


def test_shapes_are_brighter_than_their_background_in_half_of_the_pairs() -> None:
    bright = [shapes.bright_shapes for shapes in shapes_of(ellipses(), range(20_000))]
    assert np.mean(bright) == pytest.approx(0.5, abs=0.02)
    block = ellipses().draw(range(40))
    for image, mask, expected in zip(block.images, block.targets[..., 0] == 1, bright[:40], strict=True):
        assert (image[mask].mean() > image[:5].mean()) == expected


def assert_expected(counts: np.ndarray, weights: np.ndarray) -> None:
    """Chi-square within five standard deviations of what it is by chance."""
    expected = counts.sum() * weights / weights.sum()
    freedom = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


def assert_uniform(values: Any, low: float, high: float) -> None:
    assert np.min(values) >= low
    assert np.max(values) < high
    counts, _ = np.histogram(values, bins=64, range=(low, high))
    assert_expected(counts, np.ones(64))


def dark_and_bright(pairs: Ellipses, rows: range) -> tuple[np.ndarray, np.ndarray]:
    """The values of all dark and all bright pixels, shape (n, 3)."""
    bright = np.concatenate([noise_free(pairs, row) for row in rows])
    images = pairs.draw(rows).images.reshape(len(bright), -1, 3)
    return images[~bright], images[bright]


@pytest.mark.parametrize("seed", [1, 2])
def test_integer_noise_is_uniform_on_192_values(seed: int) -> None:
    dark, bright = dark_and_bright(ellipses(seed), range(20))
    for values, least in ((dark, 0), (bright, 64)):
        for channel in range(3):
            counts = np.bincount(values[:, channel], minlength=256)
            assert counts[:least].sum() + counts[least + 192 :].sum() == 0
            assert_expected(counts[least : least + 192], np.ones(192))


def test_real_noise_is_uniform_on_three_quarters() -> None:
    dark, bright = dark_and_bright(ellipses(dtype="float32"), range(20))
    assert_uniform(dark, 0, 0.75)
    assert_uniform(bright, 0.25, 1)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_noise_is_independent_between_channels_neighbours_and_rows(dtype: str) -> None:
    pairs = ellipses(dtype=dtype)
    first, second = pairs._dark_noise(range(2)).astype(float)
    columns = [
        *(first[:-1, :-1, channel].ravel() for channel in range(3)),
        first[:-1, 1:, 0].ravel(),
        first[1:, :-1, 0].ravel(),
        second[:-1, :-1, 0].ravel(),
    ]
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlation).max() < 5 / np.sqrt(len(columns[0]))


@given(pair_sets, st.integers(0, 10**7), st.integers(1, 4), st.integers(0, 3))
def test_a_row_is_the_same_in_whatever_set_and_range_it_is_drawn(
    pairs: Ellipses, start: int, count: int, place: int
) -> None:
    larger = replace(pairs, layout=replace(pairs.layout, count=50_000))
    block = pairs.draw(range(start, start + count))
    place = min(place, count - 1)
    row = start + place
    assert same(
        larger.draw(range(row, row + 1)), Block(block.images[place : place + 1], block.targets[place : place + 1])
    )


@pytest.mark.parametrize(
    ("interference", "dtype", "expected"),
    [
        ("rectangle", "uint8", 0x2BE8D8BF),
        ("triangle", "uint8", 0xEDDBF25C),
        ("none", "uint8", 0xE2D96337),
        ("rectangle", "float32", 0x31B2111C),
    ],
)
def test_pairs_stay_what_they_were_when_sets_of_them_were_first_published(
    interference: str, dtype: str, expected: int
) -> None:
    block = ellipses(interference=interference, dtype=dtype).draw(range(20))
    assert zlib.crc32(block.targets.tobytes(), zlib.crc32(block.images.tobytes())) == expected


def test_rows_and_seeds_differ_in_shapes_and_noise() -> None:
    drawn = [*ellipses(1).draw(range(3)).images, *ellipses(2).draw(range(3)).images]
    assert len({image.tobytes() for image in drawn}) == 6
    assert len({image[:2, :8].tobytes() for image in drawn}) == 6
    assert len({repr(s) for seed in (1, 2) for s in shapes_of(ellipses(seed), range(3))}) == 6


def test_both_dtypes_hold_the_same_shapes() -> None:
    integers, reals = ellipses(), ellipses(dtype="float32")
    assert all(map(np.array_equal, integers.shapes(range(5)), reals.shapes(range(5))))
    assert np.array_equal(integers.draw(range(5)).targets, reals.draw(range(5)).targets)
    for row in range(5):
        assert np.array_equal(noise_free(integers, row), noise_free(reals, row))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_have_the_dtype_and_masks_are_zeros_and_ones(dtype: str) -> None:
    block = ellipses(dtype=dtype).draw(range(4))
    assert (block.images.shape, block.images.dtype) == ((4, SIZE, SIZE, 3), np.dtype(dtype))
    assert (block.targets.shape, block.targets.dtype) == ((4, SIZE, SIZE, 1), np.dtype("uint8"))
    assert np.unique(block.targets).tolist() == [0, 1]


def test_interference_changes_neither_the_mask_nor_the_rest_of_the_image() -> None:
    blocks = {kind: ellipses(interference=kind).draw(range(20)) for kind in ("rectangle", "triangle", "none")}
    for kind in ("rectangle", "triangle"):
        assert np.array_equal(blocks[kind].targets, blocks["none"].targets)
        changed = (blocks[kind].images != blocks["none"].images).any(axis=-1)
        assert not (changed & (blocks[kind].targets[..., 0] == 1)).any()
        assert all(0 < each.mean() < 0.11 for each in changed)


def test_a_triangle_is_about_half_of_its_rectangle() -> None:
    area = {
        kind: np.array([noise_free(ellipses(interference=kind), row).mean() for row in range(100)])
        for kind in ("rectangle", "triangle", "none")
    }
    half = np.abs(area["triangle"] - area["none"]).sum() / np.abs(area["rectangle"] - area["none"]).sum()
    assert 0.45 < half < 0.6


def test_a_few_in_a_thousand_rectangles_touch_the_ellipse_and_its_mask_stays_whole() -> None:
    pairs = ellipses()
    touching = 0
    for shapes in shapes_of(pairs, range(2000)):
        taken = ellipse_pixels(shapes, SIZE)
        touching += bool(taken & interference_pixels(shapes, taken, "rectangle", SIZE))
    assert 2 <= touching <= 20


def test_the_source_is_made_of_the_parameters_of_its_set() -> None:
    options = dataset_options(
        "ellipses",
        image_size=64, train_count=7, test_count=8, train_seed=3, test_seed=4,
        radius_min=5, radius_max=9, interference="none", dtype="float32", test_interference="triangle",
    )  # fmt: skip
    train, test = open_source(options, "train"), open_source(options, "test")
    assert isinstance(train, Ellipses)
    assert isinstance(test, Ellipses)
    assert train == ellipses(3, 64, 5, 9, "none", "float32", count=7)
    assert test == ellipses(4, 64, 5, 9, "triangle", "float32", count=8)
