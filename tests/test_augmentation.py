"""Augmentation: what a training step may do to its pairs, and what it must leave as it is."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.learning.augmentation import Augmentation, augment
from stages.pairs.layout import Block

SYMMETRIES = {"none": 1, "flips": 4, "dihedral": 8}


def pairs(count: int, side: int) -> Block:
    """Pairs in which each pixel of an image differs from all others, and the mask tells its place, too."""
    images = np.arange(count * side * side * 2).reshape(count, side, side, 2).astype(np.float32)
    return Block(images, (images[..., :1] / 2 % 251).astype(np.uint8))


def symmetries(image: np.ndarray, kind: Augmentation) -> set[bytes]:
    turns = {"none": [0], "flips": [0, 2], "dihedral": range(4)}[kind]
    mirrors = [image] if kind == "none" else [image, image[::-1]]
    return {np.rot90(mirror, turn).tobytes() for mirror, turn in itertools.product(mirrors, turns)}


@given(
    st.integers(1, 5), st.integers(0, 5), st.integers(1, 6), st.sampled_from(list(SYMMETRIES)),
    st.integers(0, 99), st.integers(0, 99),
)  # fmt: skip
def test_image_and_mask_are_moved_alike_by_a_symmetry_that_seed_and_step_tell(
    count: int, as_stored: int, side: int, kind: Augmentation, seed: int, step: int
) -> None:
    block = pairs(count, side)
    moved, again = (augment(block, kind, seed, step, as_stored) for _ in range(2))
    assert [part.dtype for part in moved] == [np.float32, np.uint8]
    np.testing.assert_array_equal((moved.images[..., :1] / 2 % 251).astype(np.uint8), moved.targets)
    for old, new in zip(block.images, moved.images, strict=True):
        assert new.tobytes() in symmetries(old, kind)
    np.testing.assert_array_equal(moved.images, again.images)
    np.testing.assert_array_equal(moved.images[:as_stored], block.images[:as_stored])
    np.testing.assert_array_equal(block.images, pairs(count, side).images)


@pytest.mark.parametrize("kind", SYMMETRIES)
def test_each_symmetry_is_as_likely_as_the_others(kind: Augmentation) -> None:
    block = Block(*(np.repeat(part, 400, axis=0) for part in pairs(1, 3)))
    found = [image.tobytes() for step in range(4) for image in augment(block, kind, 0, step).images]
    counts = np.array([found.count(each) for each in set(found)])
    assert len(counts) == SYMMETRIES[kind]
    assert (abs(counts - counts.mean()) < 5 * np.sqrt(counts.mean())).all()
