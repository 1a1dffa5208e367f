"""Copies among images: those that were planted are found where they lie, and unlike images never."""

from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.pairs import copies
from stages.pairs.collisions import CROWD
from stages.pairs.copies import LEAST_OVERLAP, Marks, Overlap, joined, marks_of, overlap_of
from tests.candidates import Candidates
from tests.candidates import through_files as candidates
from tests.sets import SIZE, planted, scenes, window

LIKENESS = 0.5  # as params.yaml has it
EACH = 20  # copies of a kind
UNLIKE = 150  # images without a copy
SAME_PLACE = ("exact", "jpeg", "brightened", "rescaled")
SHIFTED = ("quarter", "two fifths")


class Search(NamedTuple):
    """Images, the kind and the shift of each planted pair, and what was found out of each candidate."""

    images: np.ndarray
    planted: dict[tuple[int, int], tuple[str, int, int]]
    compared: dict[tuple[int, int], Overlap | None]

    @property
    def found(self) -> dict[tuple[int, int], Overlap]:
        """Those alike."""
        return {pair: each for pair, each in self.compared.items() if each and each.likeness >= LIKENESS}


def compare(images: np.ndarray, asked: Candidates) -> dict[tuple[int, int], Overlap | None]:
    found: dict[tuple[int, int], Overlap | None] = {}
    for (first, second), shift in zip(asked.images.tolist(), asked.shifts, strict=True):
        found[first, second] = overlap_of(images[first], images[second], None if np.isnan(shift).any() else shift)
    return found


@pytest.fixture(scope="module", params=["uint8", "float32"])
def search(request: pytest.FixtureRequest) -> Search:
    random = np.random.default_rng(0)
    kinds = [kind for kind in (*SAME_PLACE, *SHIFTED) for _ in range(EACH)]
    drawn = scenes(len(kinds) + UNLIKE)
    copied = [planted(kind, scene, random) for kind, scene in zip(kinds, drawn, strict=False)]
    images = np.stack([*map(window, drawn), *(each.image for each in copied)])
    if request.param == "float32":
        images = images.astype(np.float32) / np.float32(255)
    pairs = {(row, len(drawn) + row): (each.kind, each.rows, each.columns) for row, each in enumerate(copied)}
    return Search(images, pairs, compare(images, candidates(marks_of(images))))


def test_copies_are_all_found_and_most_of_what_overlaps(search: Search) -> None:
    found = Counter(kind for pair, (kind, _, _) in search.planted.items() if pair in search.found)
    assert {kind: found[kind] for kind in SAME_PLACE} == dict.fromkeys(SAME_PLACE, EACH)
    assert found["quarter"] >= 0.9 * EACH
    assert found["two fifths"] >= 0.75 * EACH


def test_what_is_found_lies_where_it_was_cut_to_a_pixel(search: Search) -> None:
    for pair, overlap in search.found.items():
        _, rows, columns = search.planted[pair]
        assert max(abs(overlap.rows - rows), abs(overlap.columns - columns)) <= 1
    places = [(overlap[:2], search.planted[pair][1:]) for pair, overlap in search.found.items()]
    assert sum(found == cut for found, cut in places) >= 0.95 * len(places)


def test_copies_in_one_place_are_told_from_shifted_ones(search: Search) -> None:
    for pair, overlap in search.found.items():
        assert (overlap[:2] == (0, 0)) == (search.planted[pair][0] in SAME_PLACE)


def test_an_exact_copy_is_as_alike_as_can_be_and_others_less(search: Search) -> None:
    for pair, overlap in search.found.items():
        kind = search.planted[pair][0]
        assert overlap.likeness == pytest.approx(1) if kind == "exact" else overlap.likeness < 0.9999


def test_no_unlike_images_are_taken_for_copies(search: Search) -> None:
    assert set(search.found) <= set(search.planted)


def test_images_of_the_same_shape_with_other_details_are_candidates_but_no_copies() -> None:
    random = np.random.default_rng(0)
    row, column = np.mgrid[:SIZE, :SIZE]
    shape = 90 + 70 * ((row - 40) ** 2 + (column - 55) ** 2 < 28**2)[:, :, None]
    images = (shape + random.integers(-60, 61, (30, SIZE, SIZE, 3))).astype(np.uint8)
    compared = compare(images, candidates(marks_of(images)))
    assert len(compared) > 20
    assert all(each is None or each.likeness < LIKENESS for each in compared.values())


def test_few_of_many_unlike_images_are_compared_and_none_of_them_is_alike() -> None:
    images = np.stack([window(scene) for scene in scenes(600, seed=5, size=64)])
    asked = candidates(marks_of(images))
    assert len(asked.images) < len(images) / 20
    assert asked.crowds == 0
    assert all(each is None or each.likeness < LIKENESS for each in compare(images, asked).values())


def test_unlike_images_are_not_alike_at_any_shift() -> None:
    images = [window(scene) for scene in scenes(16, seed=6)]
    random = np.random.default_rng(0)
    for first, second in pairwise(images):
        for shift in (None, np.zeros(2), random.integers(-SIZE // 2, SIZE // 2, 2).astype(float)):
            found = overlap_of(first, second, shift)
            assert found is None or found.likeness < LIKENESS


def test_candidates_are_pairs_of_an_earlier_and_a_later_image_each_once(search: Search) -> None:
    pairs = list(search.compared)
    assert all(first < second for first, second in pairs)
    assert pairs == sorted(set(pairs))


def test_flat_images_are_never_candidates() -> None:
    random = np.random.default_rng(0)
    empty = np.full((5, 64, 64, 3), 9, np.uint8)
    noisy = np.full((5, 64, 64, 3), 100, np.uint8) + random.integers(0, 3, (5, 64, 64, 1), np.uint8)
    images = np.concatenate([empty, noisy, empty[:1], noisy[:1]])
    marks = marks_of(images)
    assert marks.flat.all()
    assert (len(marks.image), len(marks.place), len(marks.corner)) == (0, 0, 0)
    asked = candidates(marks)
    assert (asked.images.shape, asked.shifts.shape, asked.crowds) == ((0, 2), (0, 2), 0)


@pytest.mark.parametrize("value", [0, 7, 9, 200, 255])
def test_what_is_flat_is_like_nothing(value: int) -> None:
    left, right = (window(scene).copy() for scene in scenes(2))
    left[:, SIZE // 2 :] = right[:, : SIZE // 2] = value  # what lies on each other if they are put side by side
    for shift in (None, np.array([0.0, SIZE // 2 + 4])):
        found = overlap_of(left, right, shift)
        assert found is None or found.likeness < LIKENESS
    flat = np.full_like(left, value)
    assert overlap_of(flat, flat, None) is None


@pytest.mark.parametrize("count", [0, 1])
def test_where_there_is_nothing_to_compare_nothing_is(count: int) -> None:
    images = np.stack([window(scene) for scene in scenes(1)])[:count]
    assert candidates(marks_of(images)).images.shape == (0, 2)


def marks_with(whole: list[int], flat: bool = False) -> Marks:
    """Marks of images with these perceptual hashes and no corners."""
    nothing = np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8)
    return Marks(np.array(whole, np.uint64), np.full(len(whole), flat), np.empty(0, np.int32), *nothing)


def test_perceptual_hashes_may_differ_in_six_bits_but_not_in_all_parts() -> None:
    changes = {"six in three parts": 0x3_0003_0003, "seven": 0x7_0003_0003, "a bit in each part": 0x1_0001_0001_0001}
    base = 0x0123_4567_89AB_CDEF
    found = {name: len(candidates(marks_with([base, base ^ change])).images) for name, change in changes.items()}
    assert found == {"six in three parts": 1, "seven": 0, "a bit in each part": 0}
    assert len(candidates(marks_with([base, base], flat=True)).images) == 0


def test_an_agreement_of_whole_images_tells_no_shift() -> None:
    asked = candidates(marks_with([7, 7]))
    assert asked.images.tolist() == [[0, 1]]
    assert np.isnan(asked.shifts).all()


def test_crowds_are_counted_and_passed_over() -> None:
    every_pair = CROWD * (CROWD - 1) // 2
    few, many = (candidates(marks_with([7] * count)) for count in (CROWD, CROWD + 1))
    assert (len(few.images), few.crowds) == (every_pair, 0)
    assert (len(many.images), many.crowds) == (0, 4)


def with_corners(*corners: tuple[int, float, float, int]) -> Marks:
    """Marks of images with corners alone: the image, row and column, and a number that the hash repeats."""
    owners, *places, hashes = zip(*corners, strict=True)
    corner = np.repeat(np.array(hashes, np.uint8)[:, None], 32, axis=1)
    count = max(owners) + 1
    flat = np.ones(count, bool)  # keeps the whole images out
    place = np.array(places, np.float32).T
    return Marks(np.zeros(count, np.uint64), flat, np.array(owners, np.int32), place, corner)


def test_corners_that_agree_on_a_shift_make_a_candidate_of_two_images() -> None:
    places = [(20.0, 30.0), (40.0, 50.0), (60.0, 35.0)]
    first = [(0, row, column, number) for number, (row, column) in enumerate(places, 1)]
    second = [(1, row - 12, column + 5, number) for number, (row, column) in enumerate(places, 1)]
    asked = candidates(with_corners(*first, *second))
    assert (asked.images.tolist(), asked.shifts.tolist()) == ([[0, 1]], [[12, -5]])
    assert len(candidates(with_corners(*first, *second[:2])).images) == 0
    scattered = [(1, row - 12 * number, column, number) for _, row, column, number in first]
    assert len(candidates(with_corners(*first, *scattered)).images) == 0


def test_a_corner_that_is_found_again_and_again_in_one_place_has_one_vote() -> None:
    first = [(0, 40.0 + number / 8, 40.0, number) for number in range(1, 9)]
    second = [(1, 30.0 + number / 8, 40.0, number) for number in range(1, 9)]
    assert len(candidates(with_corners(*first, *second)).images) == 0


def test_corners_of_one_image_are_not_compared_with_each_other() -> None:
    corners = [(0, float(row), 40.0, 1) for row in range(10, 90, 10)]
    assert len(candidates(with_corners(*corners)).images) == 0


@pytest.mark.parametrize("cuts", [(7,), (1, 2, 29), (0, 13, 13)])
def test_marks_of_parts_are_joined_to_those_of_the_whole(cuts: tuple[int, ...]) -> None:
    images = np.stack([window(scene) for scene in scenes(30, size=64)])
    images[[3, 8]] = 50  # flat
    parts = [marks_of(part) for part in np.split(images, cuts)]
    for name, together, whole in zip(Marks._fields, joined(parts), marks_of(images), strict=True):
        np.testing.assert_array_equal(together, whole, err_msg=name)
        assert together.dtype == whole.dtype


def test_marks_do_not_depend_on_the_dtype_or_on_transparency() -> None:
    images = np.stack([window(scene) for scene in scenes(4, size=64)])
    seen = marks_of(images)
    alpha = np.random.default_rng(0).integers(0, 256, (*images.shape[:3], 1), np.uint8)
    for same in (images.astype(np.float32) / np.float32(255), np.concatenate([images, alpha], axis=3)):
        for found, expected in zip(marks_of(same), seen, strict=True):
            np.testing.assert_array_equal(found, expected)


@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(-SIZE // 3, SIZE // 3),
    columns=st.integers(-SIZE // 3, SIZE // 3),
    off=st.tuples(*[st.integers(-2, 2)] * 2),
)
def test_an_overlap_is_the_same_from_both_sides(seed: int, rows: int, columns: int, off: tuple[int, int]) -> None:
    (scene,) = scenes(1, seed)
    first, second = window(scene), window(scene, rows, columns)
    shift = np.array([rows, columns], float) + off
    there, back = overlap_of(first, second, shift), overlap_of(second, first, -shift)
    assert there is not None
    assert back is not None
    assert (there.rows, there.columns) == (-back.rows, -back.columns) == (rows, columns)
    assert there.likeness == pytest.approx(back.likeness)
    assert there.likeness > 0.9


def test_too_small_an_overlap_tells_nothing() -> None:
    (scene,) = scenes(1)
    far = round(SIZE * (1 - LEAST_OVERLAP)) + 1
    for rows, columns in ((far, 0), (0, -far), (-SIZE, 0), (0, 2 * SIZE), (3 * SIZE, -3 * SIZE)):
        assert overlap_of(window(scene), window(scene), np.array([rows, columns], float)) is None


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 17, 28])
def test_images_of_any_size_are_looked_at(size: int, channels: int) -> None:
    images = np.random.default_rng(size).integers(0, 256, (3, size, size, channels), np.uint8)
    images[2] = images[0]
    marks = marks_of(images)
    compared = compare(images, candidates(marks))
    if size > 1:
        found = compared[0, 2]
        assert (found is None) == (size < 3)
        if found is not None:
            assert (found.rows, found.columns) == (0, 0)
            assert found.likeness == pytest.approx(1)
    for shift in (None, np.array([size * 0.4, -size * 0.4]), np.array([0.0, size - 1])):
        overlap_of(images[0], images[1], shift)


def test_a_search_gives_the_same_again(search: Search) -> None:
    again = candidates(marks_of(search.images))
    assert compare(search.images, again) == search.compared
    assert copies.grey_of(search.images[0]).dtype == np.uint8
