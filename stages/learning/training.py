"""A training step as a graph: gradients, optimizer, and the moving average of the weights."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext

import keras
import numpy as np
import tensorflow as tf

from stages.learning.augmentation import Augmentation, augment
from stages.learning.averaging import MovingAverage
from stages.learning.devices import devices
from stages.learning.losses import LOSSES
from stages.learning.measures import compare
from stages.networks.shared.parts import Part
from stages.networks.shared.saved import find_not_finite
from stages.pairs.layout import Block
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import TrainingParams


class TrainingStep:
    """A step of training on a batch of any size.

    Parameters
    ----------
    network : keras.Model
        The network that trains, compiled with its optimizer.
    average : MovingAverage
        The average of its weights, which moves with it.
    params : TrainingParams
        The loss, the augmentation and its seed are used.
    plain : bool
        Whether no pair is augmented, whatever the parameters are.
    scaled : callable
        From images as they are stored to images in [0, 1].
    signature : list of tf.TensorSpec
        Of a batch of images and targets.
    """

    def __init__(
        self,
        network: keras.Model,
        average: MovingAverage,
        params: TrainingParams,
        plain: bool,
        scaled: Callable[[tf.Tensor], tf.Tensor],
        signature: list[tf.TensorSpec],
    ) -> None:
        self._network = network
        self._average = average
        self._loss = LOSSES[params.loss]
        self._seed = params.seed
        self._augmentation: Augmentation = "none" if plain else params.augmentation
        self._scaled = scaled
        self._rate = float(network.optimizer.learning_rate.numpy())
        self._signature = signature
        self._devices = devices()
        self._graph = tf.function(self._train, input_signature=signature, autograph=False)

    def __call__(self, block: Block, rate: float = 1.0, as_stored: int = 0) -> tuple[np.ndarray, float]:
        """Train once; the sums that scores are computed from, and the loss, both before the step and dropout on.

        The step is made at a share ``rate`` of the learning rate that the network was compiled with. All pairs but the
        first ``as_stored`` are augmented.

        Raises
        ------
        UserError
            If the loss is not a finite number.
        """
        self._network.optimizer.learning_rate.assign(self._rate * rate)
        moved = augment(block, self._augmentation, self._seed, self.count, as_stored)
        with self._devices.stepping(len(block.images)) if self._devices else nullcontext():
            sums, loss = self._graph(*moved)
        if not np.isfinite(loss):
            raise self._diverged(f"the loss is {float(loss)}")
        return sums.numpy(), float(loss)

    def follow(self, pairs: int) -> None:
        """Take part in a step on that many pairs that another machine makes, and sends."""
        self._graph(*(tf.zeros((pairs, *each.shape[1:]), each.dtype) for each in self._signature))

    @property
    def count(self) -> int:
        """Steps of the optimizer so far."""
        return int(self._network.optimizer.iterations.numpy())

    def require_finite(self, variables: Iterable[keras.Variable]) -> None:
        """Raise UserError if a weight is not a finite number."""
        if find_not_finite(variables) is not None:
            raise self._diverged("a weight is not finite")

    def _train(self, images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if self._devices:
            results = self._devices.train(self._learn, self._network, images, targets)
        else:
            results = self._learn(images, targets)
        self._average.move()
        return results

    def _learn(self, images: tf.Tensor, targets: tf.Tensor, part: Part | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Gradients and optimizer, on one device or on a part of the batch; the optimizer adds the parts' gradients."""
        with tf.GradientTape() as tape:
            if part is None:
                predicted = self._network(self._scaled(images), training=True)
            else:
                predicted = part.join(self._network(self._scaled(part.take(images)), training=True))
            loss = self._loss(targets, predicted)
        variables = self._network.trainable_variables
        self._network.optimizer.apply(tape.gradient(loss, variables), variables)
        return compare(targets, predicted), loss

    def _diverged(self, sign: str) -> UserError:
        return UserError(
            f"training diverged: {sign} in step {self.count} at training.learning_rate = {self._rate:g}; "
            "lower training.learning_rate or set training.precision_policy=float32"
        )
