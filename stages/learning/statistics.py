"""The statistics by which batch normalisation predicts, estimated on the pairs that a network was trained on."""

import numpy as np
import tensorflow as tf

from stages.learning.predictor import Predictor, in_blocks
from stages.networks.shared.layers import estimating


class BatchStatistics:
    """An estimate of a network's batch statistics that is made once it is needed.

    Parameters
    ----------
    predictor : Predictor
        The network, and the set of the pairs.
    batch_size : int
        Pairs of a batch, as in training.

    Attributes
    ----------
    due : ndarray of int64, shape (n,)
        Positions of the pairs to estimate on; empty if the statistics stand as they are.
    """

    def __init__(self, predictor: Predictor, batch_size: int) -> None:
        self.due = np.empty(0, np.int64)
        self._predictor = predictor
        self._batch_size = batch_size
        signature = [predictor.image_spec, tf.TensorSpec((), tf.float32)]
        self._step = tf.function(self._move, input_signature=signature, autograph=False)

    def settle(self) -> None:
        """Estimate the statistics anew on the pairs that are due, as means over batches; if none are, do nothing."""
        if not self.due.size:
            return
        seen = 0
        for block in self._predictor.pairs.stream(in_blocks(self.due, self._batch_size)):
            seen += len(block.images)
            self._step(block.images, len(block.images) / seen)
        self.due = np.empty(0, np.int64)

    def _move(self, images: tf.Tensor, share: tf.Tensor) -> None:
        with estimating(self._predictor.network, share):
            self._predictor.network(self._predictor.scaled(images), training=False)
