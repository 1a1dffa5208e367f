"""What one would write without this project: the article's pairs and its loop, in numpy and stock Keras."""

from collections.abc import Callable

import keras
import numpy as np
from skimage.draw import ellipse, polygon

from tests.stock import stock_network

RADIUS_MIN, RADIUS_MAX = 10, 20


def next_pair(size: int) -> np.ndarray:
    """Draw one pair as the article does: both noises for the whole image, shapes by scikit-image, sets for overlaps.

    Returns
    -------
    ndarray of float64, shape (size, size, 4)
        The image and, as its fourth channel, the mask.
    """
    draw = np.random.sample  # the article's generator
    dark = (draw((size, size, 3)) * 0.75).astype("float32")
    bright = (draw((size, size, 3)) * 0.75 + 0.25).astype("float32")
    span = size - 2 * RADIUS_MAX
    row, column = draw(2) * span + RADIUS_MAX
    radii = draw(2) * (RADIUS_MAX - RADIUS_MIN) + RADIUS_MIN
    rows, columns = ellipse(row, column, *radii, rotation=draw() * 2 * np.pi, shape=(size, size))
    corner = np.rint(draw(2) * span + RADIUS_MAX)
    sides = np.rint(draw(2) * (2 * RADIUS_MAX - RADIUS_MIN) + RADIUS_MIN)
    corners = corner + np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) * sides
    other_rows, other_columns = polygon(*corners.T, (size, size))
    shared = [list(set(mine) & set(other)) for mine, other in ((rows, other_rows), (columns, other_columns))]
    if all(shared):
        for axis, (common, other) in enumerate(zip(shared, (other_rows, other_columns), strict=True)):
            distance = max(common) - min(common) + 1
            corners[:, axis] += distance if np.mean(other) > np.mean(common) else -distance
        other_rows, other_columns = polygon(*corners.T, (size, size))
    background, shapes = (dark, bright) if draw() > 0.5 else (bright, dark)
    pair = np.zeros((size, size, 4))
    pair[:, :, :3] = background
    pair[rows, columns, :3] = shapes[rows, columns]
    pair[other_rows, other_columns, :3] = shapes[other_rows, other_columns]
    pair[rows, columns, 3] = 1
    return pair


def tiered_iou(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean tiered IoU of boolean masks, pair by pair."""
    total = 0.0
    for true, found in zip(truth > 0.5, predicted > 0.5, strict=True):
        if not true.any():
            total += not found.any()
        else:
            overlap = (true & found).sum() / (true | found).sum()
            total += np.floor(max(0, (overlap - 0.45) * 20)) / 10
    return total / len(truth)


def compiled_network(size: int, filters: int) -> keras.Model:
    """The article's network, loss and metric in stock Keras."""
    import tensorflow as tf

    def loss(truth: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
        overlap = tf.reduce_sum(truth * predicted)
        dice = (2 * overlap + 1) / (tf.reduce_sum(truth) + tf.reduce_sum(predicted) + 1)
        return keras.losses.binary_crossentropy(truth, predicted) + (1 - dice)

    def score(truth: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
        value = tf.numpy_function(tiered_iou, [truth, predicted], tf.float64)
        return tf.cast(tf.ensure_shape(value, []), tf.float32)

    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)  # TensorFlow's deterministic mode, which is on for both sides, asks for one
    network = stock_network(size, filters)
    network.compile(optimizer="adam", loss=loss, metrics=[score])
    return network


def select(
    network: keras.Model,
    images: np.ndarray,
    masks: np.ndarray,
    precision: float,
    report: Callable[[int, int], None],
) -> dict[str, int]:
    """The article's two loops, seed and walk, on a pool in memory; counts of the work done."""
    chosen = np.zeros(len(images), bool)
    chosen[:11] = True
    counts = {"epochs": 0, "trained": 0, "scored": 0}

    def epoch(batch_size: int) -> float:
        fit = network.fit(images[chosen], masks[chosen], batch_size=batch_size, epochs=1, verbose=0)
        counts["epochs"] += 1
        counts["trained"] += int(chosen.sum())
        return float(fit.history["score"][0])

    while epoch(10) <= precision:
        pass
    tested, training = 11, False
    while tested < len(images):
        if training:
            training = epoch(50) <= precision
            continue
        predicted = network.predict(images[tested : tested + 1024], batch_size=50, verbose=0)
        counts["scored"] += len(predicted)
        for number, prediction in enumerate(predicted):
            row = tested + number
            if tiered_iou(masks[row : row + 1], prediction[None]) < precision * 0.95:
                chosen[row] = True
                break
        tested += number + 1
        training = True
        report(tested, int(chosen.sum()))
    counts["chosen"] = int(chosen.sum())
    return counts
