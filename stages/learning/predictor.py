"""A network that predicts the pairs of a set, and what can be told from its predictions."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages.learning.protocol import PREDICTION_BATCH
from stages.learning.scores import ClassFit, Fit, LabelFit, MaskFit, PixelCounts
from stages.pairs.layout import IGNORED, MASK_THRESHOLD, Block
from stages.pairs.read import Pairs
from stages.pairs.shapes import shapes_of
from stages.pipeline.errors import UserError


class Predictor:
    """A network that predicts pairs of a set; positions are those of the set.

    Parameters
    ----------
    network : keras.Model
        From images of the set, scaled to [0, 1], to probabilities, of what its targets are.
    pairs : Pairs
        The set.

    Attributes
    ----------
    image_spec : tf.TensorSpec
        Any number of images as they are stored in the set.

    Raises
    ------
    UserError
        If the network is for images or targets of other shapes.
    """

    def __init__(self, network: keras.Model, pairs: Pairs) -> None:
        layout = pairs.layout
        expected = (layout.image_shape, layout.prediction_shape)
        found = (network.input_shape[1:], network.output_shape[1:])
        if found != expected:
            raise UserError(
                f"{pairs.path}: images of {expected[0]}, predictions of {expected[1]}; "
                f"the network takes {found[0]} to {found[1]}"
            )
        self.network = network
        self.pairs = pairs
        # Batches of any size: one graph for them all.
        self.image_spec = tf.TensorSpec((None, *layout.image_shape), layout.dtype)
        self._signature = [self.image_spec, tf.TensorSpec((None, *layout.target_shape), tf.uint8)]
        self._map_step = tf.function(
            lambda images: network(self.scaled(images), training=False),
            input_signature=[self.image_spec],
            autograph=False,
        )
        self._score_step = self._graph(compare, network)
        self._predict_step = self._graph(_measure, network)
        self._uncertainty_step = self._graph(_uncertainty, network)
        self._error_step = self._graph(_error_norm, network)
        self._features_step = self._graph(_pooled, keras.Model(network.inputs, _narrowest(network)))

    def map(self, images: np.ndarray) -> np.ndarray:
        """Predict images that need not stand in the set.

        Parameters
        ----------
        images : ndarray of uint8 or float32, shape (n, h, w, c)
            As the set stores its own.

        Returns
        -------
        ndarray of float32, shape (n, h, w, 1), (n, h, w, classes) or (n, classes)
            Probabilities.
        """
        return np.asarray(self._map_step(images).numpy())

    def predict(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Predict some pairs as one batch.

        Returns
        -------
        ndarray of float32, shape (n, h, w, 1), (n, h, w, classes) or (n, classes)
            Probabilities; in float32 networks their last bits can differ from those of `map`, since TensorFlow
            multiplies by the reciprocal of the scale within a graph.
        """
        if not len(positions):
            return np.empty((0, *self.network.output_shape[1:]), np.float32)
        (block,) = self._stream([np.asarray(positions)])
        return np.asarray(self.network.predict_on_batch(self.scaled(block.images)))

    def views(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """What is drawn of predictions, which is little.

        Returns
        -------
        ndarray
            As `predict`; but of masks of classes the likeliest class of each pixel, uint8 of shape (n, h, w, 1).
        """
        predicted = self.predict(positions)
        return predicted.argmax(axis=3)[..., None].astype(np.uint8) if self.pairs.classes else predicted

    def fits(self, positions: Sequence[int] | np.ndarray) -> Iterator[Fit]:
        """Compare the predictions of some pairs with their targets, block by block.

        Every block is predicted as a full batch, since the last bits of a prediction can depend on the size of its
        batch: a fit does not depend on how many pairs are asked for.
        """
        blocks = in_blocks(np.asarray(positions), PREDICTION_BATCH)
        full = (np.pad(block, (0, PREDICTION_BATCH - len(block)), mode="edge") for block in blocks)
        for asked, block in zip(blocks, self._stream(full), strict=True):
            fit = as_fit(self._predict_step(*block), block)
            yield type(fit).from_table(fit.table()[: len(asked)])

    def uncertainty(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Measure how unsure the predictions of some pairs are.

        Returns
        -------
        ndarray of float64, shape (n, 1)
            For masks the mean entropy of a pixel, in nats; for labels one minus the margin by which the likeliest class
            leads (Scheffer et al., 2001), in [0, 1].
        """
        return self._rate(self._uncertainty_step, positions)

    def error_norm(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Norm of the error of the predicted probabilities: EL2N (Paul, Ganguli & Dziugaite, 2021).

        Returns
        -------
        ndarray of float64, shape (n, 1)
            For masks over all pixels and classes, ignored pixels left out; for labels over all classes.
        """
        return self._rate(self._error_step, positions)

    def features(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Describe images by the network's own features, as means over the pixels of a layer.

        Returns
        -------
        ndarray of float64, shape (n, channels)
            In a network of masks, the layer is the last of those with the smallest height; in a network of classes, it
            is the one before the last.
        """
        return self._rate(self._features_step, positions)

    def shapes(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Describe pairs by their masks alone, see `stages.pairs.shapes.shapes_of`; float64, shape (n, 2).

        Raises
        ------
        UserError
            If the pairs have labels.
        """
        if self.pairs.layout.kind == "labels":
            raise UserError(f"{self.pairs.path}: its pairs have labels; this strategy chooses by the shapes of masks")
        return shapes_of(self.pairs.read(positions).targets)

    def _rate(self, step: Callable[..., tf.Tensor], positions: Sequence[int] | np.ndarray) -> np.ndarray:
        blocks = in_blocks(np.asarray(positions), PREDICTION_BATCH)
        return np.concatenate([step(*block).numpy().astype(np.float64) for block in self._stream(blocks)])

    def _stream(self, blocks: Iterable[np.ndarray]) -> Iterator[Block]:
        """Read pairs that are to be predicted."""
        return self.pairs.stream(blocks)

    def _graph(self, use: Callable[[tf.Tensor, tf.Tensor], Any], network: keras.Model) -> Any:
        """A graph that predicts images and uses targets and predictions, for batches of any size."""

        def step(images: tf.Tensor, targets: tf.Tensor) -> Any:
            return use(targets, network(self.scaled(images), training=False))

        return tf.function(step, input_signature=self._signature, autograph=False)

    def scaled(self, images: tf.Tensor) -> tf.Tensor:
        """Images as they are stored, as float32 in [0, 1]."""
        return tf.cast(images, tf.float32) / self.pairs.layout.scale


def in_blocks(positions: np.ndarray, size: int) -> list[np.ndarray]:
    """Positions in blocks of a size; the last one may be smaller."""
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def compare(targets: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Sums for masks, or probabilities for labels, from which scores are computed: float32, a row a pair."""
    if predicted.shape.rank == 2:
        return _probabilities(targets, predicted)
    if predicted.shape[-1] > 1:
        return _count_classes(targets, predicted)
    return _count(targets, predicted > MASK_THRESHOLD)


def _measure(targets: tf.Tensor, predicted: tf.Tensor) -> list[tf.Tensor]:
    """The result of `compare`; for masks of 0 and 1 also these sums of raw probabilities, and the spread of these."""
    sums = [compare(targets, predicted)]
    if predicted.shape[-1] > 1:
        return sums
    return [*sums, _count(targets, predicted), tf.math.reduce_std(predicted, axis=(1, 2))]


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


def as_fit(sums: list[tf.Tensor], block: Block) -> Fit:
    """The fit of a block from the result of `compare` or of `_measure`."""
    arrays = [each.numpy().astype(np.float64) for each in sums]
    if arrays[0].ndim == 3:
        both, truth, predicted = np.moveaxis(arrays[0], 1, 0)
        return ClassFit(both, predicted - both, truth - both)
    if arrays[0].shape[1] == len(LabelFit._fields):
        return LabelFit.from_table(arrays[0])
    pixels = math.prod(block.targets.shape[1:])
    if len(arrays) == 1:
        return MaskFit(_as_counts(arrays[0], pixels))
    return MaskFit(_as_counts(arrays[0], pixels), _as_counts(arrays[1], pixels), arrays[2][:, 0])


def _as_counts(sums: np.ndarray, pixels: int) -> PixelCounts:
    both, truth, predicted = sums.T
    return PixelCounts(both, predicted - both, truth - both, pixels - truth - predicted + both)


def _uncertainty(_: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    if predicted.shape.rank == 2:
        first, second = tf.unstack(tf.math.top_k(predicted, 2).values, axis=1)
        return (1 - (first - second))[:, None]
    if predicted.shape[-1] > 1:
        return -tf.reduce_mean(tf.reduce_sum(tf.math.xlogy(predicted, predicted), axis=3, keepdims=True), axis=(1, 2))
    entropy = tf.math.xlogy(predicted, predicted) + tf.math.xlogy(1 - predicted, 1 - predicted)
    return -tf.reduce_mean(entropy, axis=(1, 2))


def _error_norm(targets: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    if predicted.shape[-1] == 1:
        error = predicted - tf.cast(targets, tf.float32)
    else:
        truth = tf.one_hot(targets[..., 0], predicted.shape[-1])
        error = (predicted - truth) * tf.reduce_sum(truth, axis=-1, keepdims=True)  # 0 where a pixel is ignored
    axes = list(range(1, predicted.shape.rank))
    return tf.sqrt(tf.reduce_sum(error**2, axis=axes))[:, None]


def _pooled(_: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    features = tf.cast(features, tf.float32)
    return features if features.shape.rank == 2 else tf.reduce_mean(features, axis=(1, 2))


def _narrowest(network: keras.Model) -> keras.KerasTensor:
    """The output that tells most about an image in the fewest numbers."""
    if len(network.output_shape) == 2:
        return network.layers[-1].input
    outputs = [layer.output for layer in network.layers if len(layer.output.shape) == 4]
    least = min(output.shape[1] for output in outputs)
    return [output for output in outputs if output.shape[1] == least][-1]
