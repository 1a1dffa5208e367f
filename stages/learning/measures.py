"""Measures of predictions, as parts of a graph: sums for scores, uncertainty, error, features."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from stages.learning.scores import ClassFit, Fit, LabelFit, MaskFit, PixelCounts, mean_of_present
from stages.pairs.layout import IGNORED, MASK_THRESHOLD


def compare(targets: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Sums for masks, or probabilities for labels, from which scores are computed: float32, a row a pair."""
    if predicted.shape.rank == 2:
        return _probabilities(targets, predicted)
    if predicted.shape[-1] > 1:
        return _count_classes(targets, predicted)
    return _count(targets, predicted > MASK_THRESHOLD)


def measure(targets: tf.Tensor, predicted: tf.Tensor) -> list[tf.Tensor]:
    """The result of `compare`, and how close the prediction expects to be: `expected_ious`, for labels of shape (n,).

    For masks of 0 and 1 also the sums of `compare` of raw probabilities, and the spread of these.
    """
    sums = compare(targets, predicted)
    if predicted.shape.rank == 2:
        return [sums, tf.reduce_sum(predicted**2, axis=1)]
    if predicted.shape[-1] > 1:
        counted = tf.cast(targets != IGNORED, tf.float32)
        return [sums, expected_ious(predicted * counted)]
    return [sums, expected_ious(predicted), _count(targets, predicted), tf.math.reduce_std(predicted, axis=(1, 2))]


def expected_ious(predicted: tf.Tensor) -> tf.Tensor:
    """The IoU with the truth that probabilities lead to expect of their own mask, or of each class in it.

    The quotient of the expected intersection and the expected union. Where nothing is found, one minus the greatest
    probability: the pixels of an object stand or fall together, and the product over them, as if they did not, would
    make every large empty image an unsure one.

    Parameters
    ----------
    predicted : tf.Tensor of float32, shape (n, h, w, 1 or classes)
        Probability of each pixel to belong to the mask, or to each class, the background first.

    Returns
    -------
    tf.Tensor of float32, shape (n, m)
        In [0, 1]; one value for a mask of 0 and 1, else one a class but the background, NaN where it is not found and
        another one is.
    """
    if predicted.shape[-1] == 1:
        masks = tf.cast(predicted > MASK_THRESHOLD, tf.float32)
    else:
        masks = tf.one_hot(tf.argmax(predicted, axis=-1), predicted.shape[-1])[..., 1:]
        predicted = predicted[..., 1:]
    found, inside, everywhere = (tf.reduce_sum(each, axis=(1, 2)) for each in (masks, predicted * masks, predicted))
    none = 1 - tf.reduce_max(tf.reduce_sum(predicted, axis=3), axis=(1, 2))[:, None]
    ious = tf.where(found > 0, inside / tf.maximum(1.0, found + everywhere - inside), np.nan)
    return tf.where(tf.reduce_any(found > 0, axis=1, keepdims=True), ious, none)


def _count(masks: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Sums over each pair's pixels of truth · predicted, truth, and predicted; float32 of shape (n, 3).

    Sums of whole numbers below 2²⁴ are exact in float32.
    """
    truth, predicted = tf.cast(masks, tf.float32), tf.cast(predicted, tf.float32)
    return tf.stack([tf.reduce_sum(x, axis=(1, 2, 3)) for x in (truth * predicted, truth, predicted)], axis=1)


def _count_classes(masks: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Pixels of each class in both masks, in the true and in the predicted one; float32 of shape (n, 3, classes)."""
    classes = predicted.shape[-1]
    truth, found = tf.cast(masks[..., 0], tf.int32), tf.argmax(predicted, axis=-1, output_type=tf.int32)
    counted = truth != IGNORED
    first = tf.range(tf.shape(truth)[0])[:, None, None] * classes
    total = tf.shape(truth)[0] * classes

    def count(of: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
        places = tf.where(where, first + of, -1)  # what has no place is left out of the sums
        return tf.reshape(tf.math.unsorted_segment_sum(tf.ones_like(places), places, total), (-1, classes))

    sums = (count(truth, counted & (truth == found)), count(truth, counted), count(found, counted))
    return tf.cast(tf.stack(sums, axis=1), tf.float32)


def _probabilities(labels: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Probabilities of each image's class and of the likeliest other one; float32 of shape (n, 2)."""
    true = tf.one_hot(labels[:, 0], predicted.shape[1])
    return tf.stack([tf.reduce_sum(true * predicted, axis=1), tf.reduce_max((1 - true) * predicted, axis=1)], axis=1)


def as_fit(sums: Sequence[np.ndarray], pixels: int) -> Fit:
    """The fit of a block, of masks of so many pixels, from the result of `compare` or of `measure`."""
    arrays = [each.astype(np.float64) for each in sums]
    if arrays[0].ndim == 3:
        both, truth, predicted = np.moveaxis(arrays[0], 1, 0)
        return ClassFit(both, predicted - both, truth - both, *map(mean_of_present, arrays[1:]))
    if arrays[0].shape[1] == 2:
        return LabelFit(*arrays[0].T, *arrays[1:])
    counts = _as_counts(arrays[0], pixels)
    if len(arrays) == 1:
        return MaskFit(counts)
    _, expected, soft, spread = arrays
    return MaskFit(counts, expected[:, 0], _as_counts(soft, pixels), spread[:, 0])


def _as_counts(sums: np.ndarray, pixels: int) -> PixelCounts:
    both, truth, predicted = sums.T
    return PixelCounts(both, predicted - both, truth - both, pixels - truth - predicted + both)


def uncertainty(_: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Entropy or margin, see `Predictor.uncertainty`; float32 of shape (n, 1)."""
    if predicted.shape.rank == 2:
        first, second = tf.unstack(tf.math.top_k(predicted, 2).values, axis=1)
        return (1 - (first - second))[:, None]
    if predicted.shape[-1] > 1:
        return -tf.reduce_mean(tf.reduce_sum(tf.math.xlogy(predicted, predicted), axis=3, keepdims=True), axis=(1, 2))
    entropy = tf.math.xlogy(predicted, predicted) + tf.math.xlogy(1 - predicted, 1 - predicted)
    return -tf.reduce_mean(entropy, axis=(1, 2))


def error_norm(targets: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Norm of the error, see `Predictor.error_norm`; float32 of shape (n, 1)."""
    if predicted.shape[-1] == 1:
        error = predicted - tf.cast(targets, tf.float32)
    else:
        truth = tf.one_hot(targets[..., 0], predicted.shape[-1])
        error = (predicted - truth) * tf.reduce_sum(truth, axis=-1, keepdims=True)  # 0 where a pixel is ignored
    axes = list(range(1, predicted.shape.rank))
    return tf.sqrt(tf.reduce_sum(error**2, axis=axes))[:, None]


def pooled(_: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """Means of features over the pixels; float32 of shape (n, channels)."""
    features = tf.cast(features, tf.float32)
    return features if features.shape.rank == 2 else tf.reduce_mean(features, axis=(1, 2))


def narrowest(network: keras.Model) -> keras.KerasTensor:
    """The output that tells most about an image in the fewest numbers."""
    if len(network.output_shape) == 2:
        return network.layers[-1].input
    # Of a network within a network, its output in this one: `output` is that of the inner one for itself.
    outputs = [keras.Operation.output.fget(layer) for layer in network.layers]
    outputs = [output for output in outputs if len(output.shape) == 4]
    least = min(output.shape[1] for output in outputs)
    return [output for output in outputs if output.shape[1] == least][-1]
