"""Losses against Keras and against plain numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from stages.learning.losses import (
    LOSSES,
    bce_dice,
    binary_crossentropy,
    categorical_crossentropy,
    crossentropy_dice,
    dice,
)
from stages.pairs.layout import IGNORED

MASK_LOSSES = ("bce_dice", "binary_crossentropy", "dice")


def batch(seed: int, pairs: int = 3, size: int = 8, filled: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """True masks and probabilities."""
    random = np.random.default_rng(seed)
    shape = (pairs, size, size, 1)
    return (random.random(shape) < filled).astype(np.float32), random.random(shape, np.float32)


def plain_dice(truth: np.ndarray, predicted: np.ndarray) -> float:
    """One minus (2 · overlap + 1) / (sum + sum + 1), over all pixels of all pairs at once."""
    truth, predicted = truth.astype(float), predicted.astype(float)
    return float(1 - (2 * (truth * predicted).sum() + 1) / (truth.sum() + predicted.sum() + 1))


batches = st.builds(batch, st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 12), st.floats(0, 1))


@given(batches)
def test_losses_are_those_of_keras_and_numpy(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = pairs
    entropy = float(np.mean(keras.losses.binary_crossentropy(truth, predicted)))
    assert float(binary_crossentropy(truth, predicted)) == pytest.approx(entropy, rel=1e-5, abs=1e-6)
    assert float(dice(truth, predicted)) == pytest.approx(plain_dice(truth, predicted), abs=1e-6)
    both = entropy + plain_dice(truth, predicted)
    assert float(bce_dice(truth, predicted)) == pytest.approx(both, rel=1e-5, abs=1e-6)


def test_dice_is_taken_over_the_whole_batch_and_not_by_the_pair() -> None:
    truth, predicted = batch(1)
    truth[0] = 0
    by_pair = np.mean([plain_dice(truth[[n]], predicted[[n]]) for n in range(len(truth))])
    assert abs(float(dice(truth, predicted)) - by_pair) > 0.01


def test_empty_masks_that_are_predicted_empty_cost_nothing() -> None:
    zeros = np.zeros((2, 4, 4, 1), np.float32)
    assert float(dice(zeros, zeros)) == 0
    assert float(bce_dice(zeros, zeros)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_a_better_prediction_costs_less(name: str) -> None:
    truth, _ = batch(2)
    costs = [float(LOSSES[name](truth, np.abs(truth - error).astype(np.float32))) for error in (0, 0.1, 0.4, 0.9)]
    assert costs == sorted(costs)
    assert costs[0] < costs[1] < costs[2] < costs[3]


@pytest.mark.parametrize("name", MASK_LOSSES)
@pytest.mark.parametrize("filled", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_loss_and_gradient_are_numbers_where_the_prediction_is_certain(name: str, filled: float, value: float) -> None:
    truth, _ = batch(3, filled=filled)
    predicted = tf.Variable(np.full_like(truth, value))
    with tf.GradientTape() as tape:
        loss = LOSSES[name](truth, predicted)
    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, predicted)).all()
    assert 0 <= float(loss) < 18


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_the_gradient_points_away_from_the_truth(name: str) -> None:
    truth, _ = batch(4)
    predicted = tf.Variable(np.full_like(truth, 0.5))
    with tf.GradientTape() as tape:
        loss = LOSSES[name](truth, predicted)
    gradient = np.asarray(tape.gradient(loss, predicted))
    assert (gradient[truth == 1] < 0).all()
    assert (gradient[truth == 0] > 0).all()


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 12))
def test_the_loss_of_classes_is_keras_s(seed: int, images: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, (images, 1)).astype(np.uint8)
    predicted = random.dirichlet(np.ones(classes), images).astype(np.float32)
    expected = float(np.mean(keras.losses.sparse_categorical_crossentropy(labels[:, 0], predicted)))
    assert float(categorical_crossentropy(labels, tf.constant(predicted))) == pytest.approx(expected, rel=1e-5)


def test_a_certain_class_costs_a_number_whether_right_or_wrong() -> None:
    predicted = tf.Variable([[1.0, 0.0], [1.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = categorical_crossentropy(np.array([[0], [1]], np.uint8), predicted)
    assert 5 < float(loss) < 10
    assert np.isfinite(tape.gradient(loss, predicted)).all()


def class_batch(seed: int, pairs: int = 3, size: int = 6, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """True classes of pixels, some of them ignored, and probabilities."""
    random = np.random.default_rng(seed)
    masks = random.integers(0, count, (pairs, size, size, 1)).astype(np.uint8)
    masks[random.random(masks.shape) < 0.2] = IGNORED
    return masks, random.dirichlet(np.ones(count), (pairs, size, size)).astype(np.float32)


@given(st.integers(0, 10**6))
def test_losses_of_classes_are_those_of_the_pixels_that_count(seed: int) -> None:
    masks, predicted = class_batch(seed)
    counted = masks[..., 0] != IGNORED
    truth, said = masks[..., 0][counted], predicted[counted]
    entropy = -np.log(np.clip(said[np.arange(len(truth)), truth].astype(float), 1e-7, 1)).mean()
    assert float(categorical_crossentropy(masks, predicted)) == pytest.approx(entropy, rel=1e-4)
    by_class = np.mean([plain_dice(truth == number, said[:, number]) for number in range(1, 4)])
    assert float(dice(masks, predicted)) == pytest.approx(by_class, abs=1e-5)
    assert float(crossentropy_dice(masks, predicted)) == pytest.approx(entropy + by_class, rel=1e-4)


def test_ignored_pixels_have_no_gradient_and_a_batch_of_them_costs_nothing() -> None:
    masks, predicted = class_batch(0)
    said = tf.Variable(predicted)
    with tf.GradientTape() as tape:
        loss = crossentropy_dice(masks, said)
    gradient = tape.gradient(loss, said).numpy()
    ignored = masks[..., 0] == IGNORED
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).any(axis=1).all()
    assert float(crossentropy_dice(np.full_like(masks, IGNORED), predicted)) == 0
