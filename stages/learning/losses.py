"""Losses, which training minimises: functions of the true targets and the predicted probabilities of a batch."""

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
EPSILON = 1e-7  # keeps the logarithm finite, as in Keras
SMOOTH = 1.0  # keeps the Dice loss defined on empty masks


def binary_crossentropy(masks: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Mean binary cross-entropy.

    Parameters
    ----------
    masks : Tensor of uint8 or float32, shape (n, h, w, 1)
        0 or 1.
    predicted : Tensor of float32, shape (n, h, w, 1)
        Probabilities.

    Returns
    -------
    Tensor of float32, shape ()
        In nats a pixel.
    """
    truth = tf.cast(masks, tf.float32)
    predicted = tf.clip_by_value(predicted, EPSILON, 1 - EPSILON)
    return -tf.reduce_mean(truth * tf.math.log(predicted) + (1 - truth) * tf.math.log(1 - predicted))


def dice(masks: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """One minus the Dice coefficient of the whole flattened batch, smoothed by 1.

    Arguments are those of `binary_crossentropy`; the result is in [0, 1).
    """
    truth = tf.cast(masks, tf.float32)
    overlap = tf.reduce_sum(truth * predicted)
    return 1 - (2 * overlap + SMOOTH) / (tf.reduce_sum(truth) + tf.reduce_sum(predicted) + SMOOTH)


def bce_dice(masks: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """The article's loss: `binary_crossentropy` plus `dice`."""
    return binary_crossentropy(masks, predicted) + dice(masks, predicted)


def categorical_crossentropy(labels: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of classes.

    Parameters
    ----------
    labels : Tensor of uint8, shape (n, 1)
        The true classes.
    predicted : Tensor of float32, shape (n, classes)
        Probabilities.

    Returns
    -------
    Tensor of float32, shape ()
        In nats an image.
    """
    true = tf.reduce_sum(tf.one_hot(labels[:, 0], predicted.shape[1]) * predicted, axis=1)
    return -tf.reduce_mean(tf.math.log(tf.clip_by_value(true, EPSILON, 1 - EPSILON)))


LOSSES: dict[str, Loss] = {
    "bce_dice": bce_dice,
    "binary_crossentropy": binary_crossentropy,
    "dice": dice,
    "categorical_crossentropy": categorical_crossentropy,
}
