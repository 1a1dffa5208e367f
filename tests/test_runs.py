"""Objects as COCO's compressed runs: they mean the pixels that they were made of, whatever a file holds."""

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from stages.datasets.shared.runs import count_pixels, counts_of, encode, mask_of, overlap
from stages.pairs.layout import IGNORED
from tests.damage import line_of
from tests.files import box, compressed, counted


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.5, 1.0]))
@example(1, 1, 0, 1.0)
def test_a_mask_that_is_encoded_is_the_same_when_it_is_decoded(
    height: int, width: int, seed: int, share: float
) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    for segmentation in (counted(mask), compressed(mask)):
        runs, clipped = encode(segmentation, height, width)
        decoded = mask_of([(1, runs)], height, width)
        assert (decoded.shape, decoded.dtype, clipped) == ((height, width, 1), np.dtype("uint8"), False)
        assert np.array_equal(decoded[..., 0], mask)
        assert counts_of(runs).tolist() == counted(mask)["counts"]
        assert count_pixels([runs], height, width) == mask.sum()
        assert runs.decode() == compressed(mask)["counts"]


def test_runs_of_large_images_are_decoded() -> None:
    mask = np.zeros((3000, 4000), np.uint8)
    mask[100:2900, 7:3990] = 1  # differences of all signs, counts of five digits
    mask[1500, 3000] = 0
    mask[:, 3995:] = 1
    runs, _ = encode(compressed(mask), *mask.shape)
    assert np.array_equal(mask_of([(1, runs)], *mask.shape)[..., 0], mask)


coordinates = st.tuples(st.floats(-30, 60, width=32), st.floats(-30, 60, width=32))


@given(st.lists(coordinates, min_size=3, max_size=3))
@example([(0.0, 0.0), (30.0, 0.0), (30.0, 30.0)])
@example([(0.0, 0.0), (30.0, 0.0), (30.0, 24.0)])  # up to the edge is not beyond it
def test_pixels_of_a_polygon_are_those_whose_centre_is_inside(points: list[tuple[float, float]]) -> None:
    """Of a triangle, as the signs of three lines tell it; COCO's code may be wrong by a third of a pixel."""
    corners = np.array(points)
    rows, columns = np.mgrid[:24, :30] + 0.5
    sides, near = [], np.zeros((24, 30), bool)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along, to = end - start, np.stack([columns - start[0], rows - start[1]], axis=-1)
        sides.append(along[0] * to[..., 1] - along[1] * to[..., 0])
        nearest = np.clip(to @ along / max(along @ along, 1e-9), 0, 1)[..., None] * along
        near |= np.linalg.norm(to - nearest, axis=-1) < 1 / 3
    inside = (np.min(sides, axis=0) > 0) | (np.max(sides, axis=0) < 0)
    runs, clipped = encode([np.concatenate(points).tolist()], 24, 30)
    assert np.array_equal(mask_of([(1, runs)], 24, 30)[..., 0][~near], inside[~near])
    assert clipped == bool(((corners < 0) | (corners > [30, 24])).any())


@given(st.lists(st.lists(coordinates, min_size=3, max_size=8), min_size=1, max_size=3))
def test_an_object_is_the_union_of_its_parts(parts: list[list[tuple[float, float]]]) -> None:
    polygons = [np.concatenate(points).tolist() for points in parts]
    whole, *apart = (
        mask_of([(1, encode(each, 24, 30)[0])], 24, 30) for each in (polygons, *([one] for one in polygons))
    )
    assert np.array_equal(whole, np.bitwise_or.reduce(apart))


def test_later_objects_lie_on_top_and_overlap_is_seen() -> None:
    first, second, third = (encode([box(*each)], 8, 8)[0] for each in ((0, 0, 4, 4), (2, 2, 6, 6), (4, 0, 8, 2)))
    mask = mask_of([(1, first), (2, second), (IGNORED, third)], 8, 8)[..., 0]
    expected = np.zeros((8, 8), np.uint8)
    expected[:4, :4], expected[2:6, 2:6], expected[:2, 4:] = 1, 2, IGNORED
    assert np.array_equal(mask, expected)
    assert overlap([(1, first), (2, second)], 8, 8)
    assert not overlap([(1, first), (1, second), (2, third)], 8, 8)
    assert not overlap([(1, first), (IGNORED, second)], 8, 8)


numbers = st.integers() | st.floats() | st.just(10**400)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner),
    max_leaves=12,
)


@given(
    values
    | st.lists(st.lists(numbers, max_size=10), max_size=3)
    | st.fixed_dictionaries(
        {"size": st.just([5, 4]), "counts": st.text("0123OPo~ \x00", max_size=12) | st.lists(st.integers(-3, 25))}
    )
)
@example({"size": [5, 4], "counts": "o"})  # digits that go on behind the end
@example({"size": [5, 4], "counts": "P" * 20 + "0"})
@example([[0, 0, 1e9, 0, 1e9, 1e9]])
def test_any_segmentation_is_encoded_or_refused_in_a_line(segmentation: Any) -> None:
    found: list[bytes] = []
    if line_of(lambda: found.append(encode(segmentation, 5, 4)[0])) is None:
        assert counts_of(found[0]).sum() == 20
