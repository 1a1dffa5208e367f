"""The split: which images are for training and which for testing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.datasets.shared.split import split
from tests.files import make_pairs
from tests.sources import opened, refusal

stems = st.lists(st.integers(0, 999), min_size=1, max_size=40, unique=True)
patients = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), min_size=1, max_size=40, unique=True)
seeds = st.integers(0, 2**63 - 1)
shares = st.floats(0, 1)


def paths_of(numbers: Sequence[int]) -> list[str]:
    return [f"images/{number}.png" for number in numbers]


@given(stems, shares, seeds)
def test_a_share_of_the_images_is_for_testing(numbers: list[int], share: float, seed: int) -> None:
    paths = paths_of(numbers)
    testing = split(paths, share, seed, None, None)
    assert sum(testing) == round(share * len(paths))
    backwards = split(paths[::-1], share, seed, None, None)
    assert backwards[::-1] == testing


@given(stems, stems, shares, seeds)
def test_a_new_image_moves_at_most_one_of_the_others(old: list[int], new: list[int], share: float, seed: int) -> None:
    every = old + [number for number in new if number not in old]
    before = split(paths_of(old), share, seed, None, None)
    after = split(paths_of(every), share, seed, None, None)[: len(old)]
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= len(every) - len(old)


@given(patients, shares, seeds)
def test_groups_are_never_torn_apart(numbers: list[tuple[int, int]], share: float, seed: int) -> None:
    paths = [f"images/p{patient}_{number}.png" for patient, number in numbers]
    testing = split(paths, share, seed, None, r"/p(\d+)_")
    sides = {(patient, tests) for (patient, _), tests in zip(numbers, testing, strict=True)}
    groups = {patient for patient, _ in numbers}
    assert len(sides) == len(groups)
    assert sum(tests for _, tests in sides) == round(share * len(groups))


@given(patients, st.integers(0, 9), shares)
def test_a_pattern_says_what_is_for_testing_whatever_the_share(
    numbers: list[tuple[int, int]], chosen: int, share: float
) -> None:
    paths = [f"images/p{patient}_{number}.png" for patient, number in numbers]
    testing = split(paths, share, 0, rf"_{chosen}\.png$", None)
    assert testing == [number == chosen for _, number in numbers]
    groups = {patient for patient, number in numbers if number == chosen}
    testing = split(paths, share, 0, rf"_{chosen}\.png$", r"/p(\d+)_")
    assert testing == [patient in groups for patient, _ in numbers]


def test_the_split_is_drawn_by_its_seed_and_stays_what_it_was_when_first_published() -> None:
    paths = paths_of(range(10))
    splits = [split(paths, 0.3, seed, None, None) for seed in range(20)]
    assert len({tuple(split) for split in splits}) > 10
    assert [place for place, tests in enumerate(splits[0]) if tests] == [0, 1, 4]


@pytest.mark.parametrize(
    "changes",
    [
        {"test_share": 0.4},
        {"test_share": 0.4, "split_seed": 7},
        {"test_pattern": "[bd]"},
        {"test_share": 0.5, "group_pattern": "([a-c]|[d-f]).png"},
    ],
)
def test_every_image_is_on_one_side_alone(tmp_path: Path, changes: dict[str, Any]) -> None:
    make_pairs(tmp_path, 6)
    train, test = (opened(tmp_path, item, **changes).origins.files for item in ("train", "test"))
    assert sorted(tuple(files) for files in [*train, *test]) == [
        (f"images/{stem}.png", f"masks/{stem}.png") for stem in "abcdef"
    ]


@pytest.mark.parametrize(
    ("item", "changes", "said"),
    [
        ("test", {"test_share": 0.1}, "dataset.test_share is 0.1: of 3 images none is left to test"),
        ("train", {"test_share": 0.9}, "dataset.test_share is 0.9: of 3 images none is left to train"),
        ("test", {"test_pattern": "x"}, "dataset.test_pattern is 'x': of 3 images none is left to test"),
        ("train", {"test_pattern": "images"}, "dataset.test_pattern is 'images': of 3 images none is left to train"),
        (
            "train",
            {"group_pattern": "(a|b)[.]"},
            "is '(a|b)[.]', allowed is one that finds its group in 'images/c.png'",
        ),
        ("train", {"group_pattern": "images/(a|b)?"}, "allowed is one that finds its group in 'images/c.png', too"),
    ],
)
def test_empty_sides_and_images_without_a_group_are_refused(
    tmp_path: Path, item: str, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(make_pairs(tmp_path, 3), item, strict=False, **changes)
