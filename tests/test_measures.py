"""Measures of predictions: what a network expects of itself, and how far it stays behind that."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.learning.measures import as_fit, expected_ious, measure
from stages.learning.scores import PixelCounts, iou, shortfall
from stages.pairs.layout import IGNORED


def expected_iou(given: np.ndarray) -> float:
    """The mean of the classes that are found, of one image."""
    return float(np.nanmean(expected_ious(tf.constant(given[None], tf.float32))))


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
    for shape in ((2, 2, 1), (4, 1, 1), (1, 4, 1)):
        assert expected_iou(np.reshape(probabilities, shape)) == pytest.approx(expected, abs=1e-6)


def test_of_classes_the_expected_iou_is_the_mean_of_those_that_are_found() -> None:
    of_pixels = [[[0.1, 0.9, 0.0], [0.2, 0.0, 0.8], [0.7, 0.3, 0.0]]]
    assert expected_iou(np.array(of_pixels)) == pytest.approx((0.9 / 1.3 + 0.8 / 1) / 2)
    nothing = [[[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]]]
    assert expected_iou(np.array(nothing)) == pytest.approx(0.5)


probabilities = st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(1)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(0, 1, width=32))
)


@given(probabilities)
def test_an_expected_iou_lies_between_0_and_1(given: np.ndarray) -> None:
    assert 0 <= expected_iou(given) <= 1


@given(probabilities)
def test_an_expected_iou_is_the_iou_of_the_counts_that_are_expected(given: np.ndarray) -> None:
    image = given.astype(np.float64)
    mask = (image > 0.5).ravel().astype(float)
    if mask.any():
        expected = PixelCounts(*(np.array([kind.sum()]) for kind in kinds_of(image.ravel(), mask)))
        assert expected_iou(image) == pytest.approx(iou(expected).item(), rel=1e-5)
    else:
        assert expected_iou(image) == pytest.approx(1 - image.max(), abs=1e-6)


@given(probabilities)
def test_sure_probabilities_expect_to_be_right(given: np.ndarray) -> None:
    assert expected_iou(np.rint(given)) == 1


def test_a_large_image_in_which_nothing_is_found_is_not_the_worst_for_its_size() -> None:
    empty = np.full((768, 768, 1), 1e-4, np.float32)
    assert expected_iou(empty) == pytest.approx(1 - 1e-4)
    unsure = empty.copy()
    unsure[100:110, 100:110] = 0.45
    assert expected_iou(unsure) == pytest.approx(0.55)
    found = empty.copy()
    found[100:110, 100:110] = 0.9
    assert expected_iou(found) == pytest.approx(0.9 * 100 / (100 + 1e-4 * (768**2 - 100)))


def shortfalls(targets: list[object], predicted: list[object]) -> list[float]:
    """Of pairs of targets and probabilities, by the graph that verifies them."""
    true, given = np.array(targets, np.uint8), np.array(predicted, np.float32)
    sums = [each.numpy() for each in measure(tf.constant(true), tf.constant(given))]
    fit = as_fit(sums, int(np.prod(true.shape[1:])))
    again = type(fit).from_table(fit.table())
    np.testing.assert_array_equal(shortfall(again), shortfall(fit))
    return [float(value) for value in shortfall(fit)]


def column(*values: object) -> list[object]:
    """An image of one column and one channel, or of a value a class."""
    return [[value if isinstance(value, list) else [value]] for value in values]


def test_a_mask_that_contradicts_a_sure_network_falls_short_and_one_of_a_hard_image_does_not() -> None:
    sure, unsure = column(0.99, 0.99, 0.01, 0.01), column(0.55, 0.55, 0.45, 0.45)
    right, wrong = column(1, 1, 0, 0), column(0, 0, 1, 1)
    of_sure, of_unsure = 1.98 / 2.02, 1.1 / (2 + 2 - 1.1)
    found = shortfalls([right, wrong, wrong], [sure, sure, unsure])
    assert found == pytest.approx([of_sure - 1, of_sure, of_unsure], abs=1e-6)


def test_of_an_empty_mask_the_shortfall_is_what_is_found_there() -> None:
    nothing, something = column(0.1, 0.2), column(0.9, 0.1)
    assert shortfalls([column(0, 0)] * 2, [nothing, something]) == pytest.approx([0.8 - 1, 0.9 / 1.1], abs=1e-6)


def test_ignored_pixels_are_nothing_that_a_network_expects() -> None:
    sure, unsure = [0.1, 0.9, 0.0], [0.1, 0.4, 0.5]
    whole, ignored = (shortfalls([column(1, 1, last)], [column(sure, sure, unsure)]) for last in (1, IGNORED))
    assert ignored == pytest.approx([0.9 - 1], abs=1e-6)
    assert whole != ignored


def test_of_labels_the_shortfall_is_of_the_probability_of_the_true_class() -> None:
    found = shortfalls([[0], [1], [1]], [[0.9, 0.1], [0.9, 0.1], [0.5, 0.5]])
    assert found == pytest.approx([0.82 - 0.9, 0.82 - 0.1, 0], abs=1e-6)
