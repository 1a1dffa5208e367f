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
    """One minus the Dice coefficient of the whole flattened batch, smoothed by 1; of classes their mean.

    Arguments are those of `binary_crossentropy`, or of `categorical_crossentropy`; the result is in [0, 1). The
    background is none of the classes.
    """
    if predicted.shape[-1] == 1:
        truth = tf.cast(masks, tf.float32)
        overlap = tf.reduce_sum(truth * predicted)
        return 1 - (2 * overlap + SMOOTH) / (tf.reduce_sum(truth) + tf.reduce_sum(predicted) + SMOOTH)
    truth = tf.one_hot(masks[..., 0], predicted.shape[-1])
    predicted = predicted * tf.reduce_sum(truth, axis=-1, keepdims=True)  # 0 where a pixel is ignored
    overlap, true, found = (tf.reduce_sum(x, axis=(0, 1, 2))[1:] for x in (truth * predicted, truth, predicted))
    return 1 - tf.reduce_mean((2 * overlap + SMOOTH) / (true + found + SMOOTH))


def bce_dice(masks: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """The article's loss: `binary_crossentropy` plus `dice`."""
    return binary_crossentropy(masks, predicted) + dice(masks, predicted)


def categorical_crossentropy(targets: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of classes.

    Parameters
    ----------
    targets : Tensor of uint8, shape (n, 1) or (n, h, w, 1)
        The true classes; a number that is none of them, as that of ignored pixels, has no part in the mean.
    predicted : Tensor of float32, shape (n, classes) or (n, h, w, classes)
        Probabilities.

    Returns
    -------
    Tensor of float32, shape ()
        In nats an image, or a pixel.
    """
    truth = tf.one_hot(targets[..., 0], predicted.shape[-1])
    counted = tf.reduce_sum(truth, axis=-1)
    true = tf.clip_by_value(tf.reduce_sum(truth * predicted, axis=-1), EPSILON, 1 - EPSILON)
    return -tf.math.divide_no_nan(tf.reduce_sum(counted * tf.math.log(true)), tf.reduce_sum(counted))


def crossentropy_dice(masks: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """The article's loss for several classes: `categorical_crossentropy` plus `dice`."""
    return categorical_crossentropy(masks, predicted) + dice(masks, predicted)


LOSSES: dict[str, Loss] = {
    "bce_dice": bce_dice,
    "binary_crossentropy": binary_crossentropy,
    "dice": dice,
    "categorical_crossentropy": categorical_crossentropy,
    "crossentropy_dice": crossentropy_dice,
}
