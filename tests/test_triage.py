"""The IoU by which `triage` ranks: what probabilities lead to expect, image by image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.scores import PixelCounts, iou, tier
from stages.triage import expected_iou


def kinds_of(truth: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """How much of each pixel is of each kind, if it belongs to the true mask with a probability."""
    return [truth * mask, (1 - truth) * mask, truth * (1 - mask), (1 - truth) * (1 - mask)]


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.9, 0.8, 0.2, 0.1], (0.9 + 0.8) / (2 + 0.2 + 0.1)),
        ([1.0, 0.6, 0.5, 0.0], (1.0 + 0.6) / (2 + 0.5)),
        ([0.75, 0.75, 0.75, 0.75], 0.75),
        ([0.51, 0.0, 0.0, 0.0], 0.51),
        ([0.5, 0.25, 0.0, 0.0], 1 - 0.5),
        ([0.0, 0.0, 0.0, 0.0], 1.0),
        ([1.0, 1.0, 0.0, 0.0], 1.0),
        ([0.1, 0.1, 0.1, 0.1], 0.9),
    ],
)
def test_the_expected_iou_of_toys_by_hand(probabilities: list[float], expected: float) -> None:
    for shape in ((1, 2, 2), (1, 4, 1), (1, 1, 4)):
        assert expected_iou(np.reshape(probabilities, shape)).tolist() == pytest.approx([expected], abs=1e-12)


def test_images_have_an_expected_iou_each_in_float64() -> None:
    images = np.array([[[0.9, 0.1]], [[0.22, 0.22]], [[1.0, 1.0]]], np.float32)
    found = expected_iou(images)
    assert (found.shape, str(found.dtype)) == ((3,), "float64")
    assert found.tolist() == [expected_iou(image[None]).item() for image in images]
    assert tier(found).tolist() == [0.7, 0.6, 1.1]


probabilities = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(0, 1, width=32))
)


@given(probabilities)
@settings(deadline=None, max_examples=200)
def test_an_expected_iou_lies_between_0_and_1(given: np.ndarray) -> None:
    found = expected_iou(given)
    assert ((found >= 0) & (found <= 1)).all()


@given(probabilities)
@settings(deadline=None, max_examples=100)
def test_an_expected_iou_is_the_iou_of_the_counts_that_are_expected(given: np.ndarray) -> None:
    for image in given.astype(np.float64):
        mask = (image > 0.5).ravel().astype(float)
        if mask.any():
            expected = PixelCounts(*(np.array([kind.sum()]) for kind in kinds_of(image.ravel(), mask)))
            assert expected_iou(image[None]) == pytest.approx(iou(expected))
        else:
            assert expected_iou(image[None]) == pytest.approx([1 - image.max()], abs=1e-12)


@given(probabilities)
@settings(deadline=None, max_examples=100)
def test_sure_probabilities_expect_to_be_right(given: np.ndarray) -> None:
    assert expected_iou(np.rint(given)).tolist() == [1.0] * len(given)


def test_a_large_image_in_which_nothing_is_found_is_not_the_worst_for_its_size() -> None:
    empty = np.full((768, 768), 1e-4, np.float32)
    assert expected_iou(empty) == pytest.approx(1 - 1e-4)
    unsure = empty.copy()
    unsure[100:110, 100:110] = 0.45
    assert expected_iou(unsure) == pytest.approx(0.55)
    found = empty.copy()
    found[100:110, 100:110] = 0.9
    assert expected_iou(found) == pytest.approx(0.9 * 100 / (100 + 1e-4 * (768**2 - 100)))
