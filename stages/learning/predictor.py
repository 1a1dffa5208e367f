"""A network that predicts the pairs of a set, and what can be told from its predictions."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages.learning.measures import as_fit, compare, error_norm, measure, narrowest, pooled, uncertainty
from stages.learning.protocol import PREDICTION_BATCH
from stages.learning.scores import Fit
from stages.learning.speculation import Speculation
from stages.pairs.layout import Block
from stages.pairs.read import Pairs
from stages.pairs.shapes import shapes_of
from stages.pipeline.errors import UserError

GRAPHS = {"score": compare, "fit": measure, "uncertainty": uncertainty, "error norm": error_norm}


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
    pixels : int
        Of a mask.
    speculation : Speculation, optional
        Workers of a cluster that predict ahead.

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
        self.pixels = math.prod(layout.target_shape)
        self.speculation: Speculation | None = None
        self._graphs = {name: self._graph(use, network) for name, use in GRAPHS.items()}
        self._graphs["features"] = self._graph(pooled, keras.Model(network.inputs, narrowest(network)))

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
        for asked, sums in zip(blocks, self.compute("fit", blocks), strict=True):
            yield as_fit([each[: len(asked)] for each in sums], self.pixels)

    def uncertainty(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Measure how unsure the predictions of some pairs are.

        Returns
        -------
        ndarray of float64, shape (n, 1)
            For masks the mean entropy of a pixel, in nats; for labels one minus the margin by which the likeliest class
            leads (Scheffer et al., 2001), in [0, 1].
        """
        return self._rate("uncertainty", positions)

    def error_norm(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Norm of the error of the predicted probabilities: EL2N (Paul, Ganguli & Dziugaite, 2021).

        Returns
        -------
        ndarray of float64, shape (n, 1)
            For masks over all pixels and classes, ignored pixels left out; for labels over all classes.
        """
        return self._rate("error norm", positions)

    def features(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Describe images by the network's own features, as means over the pixels of a layer.

        Returns
        -------
        ndarray of float64, shape (n, channels)
            In a network of masks, the layer is the last of those with the smallest height; in a network of classes, it
            is the one before the last.
        """
        return self._rate("features", positions)

    def shapes(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Describe pairs by their masks, see `shapes_of`; float64, (n, 2). Raise UserError if they have labels."""
        if self.pairs.layout.kind == "labels":
            raise UserError(f"{self.pairs.path}: its pairs have labels; this strategy chooses by the shapes of masks")
        return shapes_of(self.pairs.read(positions).targets)

    def expect(self, positions: Sequence[int] | np.ndarray) -> None:
        """Let workers of a cluster, if there are any, begin with pairs that will be asked for next, in this order."""
        if self.speculation:
            self.speculation.expect(self.pairs.order[np.asarray(positions, np.int64)])

    def compute(self, graph: str, blocks: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """Compute a graph for blocks of pairs, here or, if they are expected, by workers of a cluster.

        Parameters
        ----------
        graph : {"score", "fit", "uncertainty", "error norm", "features"}
            Which.
        blocks : sequence of ndarray of int64
            Positions.

        Yields
        ------
        list of ndarray of float32, shape (n, …)
            A row a pair; of "fit" as many as a full batch has.
        """
        if self.speculation is None:
            yield from self._compute(graph, blocks)
            return
        for block in blocks:
            self._settle()
            yield self.speculation.take(graph, self.pairs.order[block]) or next(self._compute(graph, [block]))

    def _compute(self, graph: str, blocks: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
        full = PREDICTION_BATCH if graph == "fit" else 0
        padded = (np.pad(block, (0, max(0, full - len(block))), mode="edge") for block in blocks)
        for block in self._stream(padded):
            yield [each.numpy() for each in self._graphs[graph](*block)]

    def _rate(self, graph: str, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        blocks = in_blocks(np.asarray(positions), PREDICTION_BATCH)
        return np.concatenate([found for (found,) in self.compute(graph, blocks)]).astype(np.float64)

    def _settle(self) -> None:
        """Bring the network into the state by which it is to predict."""

    def _stream(self, blocks: Iterable[np.ndarray]) -> Iterator[Block]:
        """Read pairs that are to be predicted."""
        self._settle()
        return self.pairs.stream(blocks)

    def _graph(self, use: Callable[[tf.Tensor, tf.Tensor], Any], network: keras.Model) -> Any:
        """A graph that predicts images and uses targets and predictions, for batches of any size."""

        def step(images: tf.Tensor, targets: tf.Tensor) -> list[tf.Tensor]:
            found: list[tf.Tensor] = tf.nest.flatten(use(targets, network(self.scaled(images), training=False)))
            return found

        return tf.function(step, input_signature=self._signature, autograph=False)

    def scaled(self, images: tf.Tensor) -> tf.Tensor:
        """Images as they are stored, as float32 in [0, 1]."""
        return tf.cast(images, tf.float32) / self.pairs.layout.scale


def in_blocks(positions: np.ndarray, size: int) -> list[np.ndarray]:
    """Positions in blocks of a size; the last one may be smaller."""
    return [positions[start : start + size] for start in range(0, len(positions), size)]
