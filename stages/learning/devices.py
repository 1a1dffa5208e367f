"""The devices that a network trains on together: GPUs of one machine, or of all machines that ``TF_CONFIG`` names.

Each device trains on a part of a batch. Of several machines the first runs the stage, and the others follow it: in each
step it sends them the batch and the weights. So they need no data, write nothing and decide nothing.
"""

import atexit
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages.learning.optimizers import Adam
from stages.learning.tensorflow import machines
from stages.networks.shared.layers import BatchNormalization, as_keras, speed_up, splitting
from stages.networks.shared.parts import Part, from_first
from stages.pipeline.errors import UserError

END, NETWORK, STEP = range(3)  # what the first machine does next
Step = Callable[[tf.Tensor, tf.Tensor, Part], tuple[tf.Tensor, ...]]


@cache
def devices() -> "Devices | None":
    """The devices that train together; None if there is one, which needs nothing. Waits until all machines are there."""
    if machines().count > 1:
        return Devices(tf.distribute.MultiWorkerMirroredStrategy())
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return Devices(tf.distribute.MirroredStrategy([each.name for each in found])) if len(found) > 1 else None


class Devices:
    """Several devices.

    Parameters
    ----------
    strategy : tf.distribute.Strategy
        What they train together by.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy
        self._of_machines = machines().count > 1
        self._reached = True  # whether the other machines wait for what comes next
        self._said = tf.function(
            lambda numbers: self._run(from_first, numbers)[0],
            input_signature=[tf.TensorSpec((None,), tf.float32)],
            autograph=False,
        )
        if self._of_machines and not machines().index:
            atexit.register(self._end)

    def spread(self, network: keras.Model, **facts: Any) -> keras.Model:
        """A copy of a compiled network, its weights on all devices.

        Parameters
        ----------
        facts : JSON values
            What machines that follow have to know besides.

        Raises
        ------
        UserError
            If a layer normalises batches in a way that devices cannot share, or a machine is gone.
        """
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization) and not isinstance(layer, BatchNormalization):
                raise UserError(
                    f"network {network.name}: its layer {layer.name} normalises batches in a way that several devices "
                    "cannot share; with CUDA_VISIBLE_DEVICES=0 and without TF_CONFIG it trains on one"
                )
        with as_keras(network):
            facts |= {"network": network.to_json(), "optimizer": network.optimizer.get_config()}
        text = np.frombuffer(json.dumps(facts, default=float).encode(), np.uint8)
        self._say(np.array([NETWORK, len(text)]))
        self._say(text)
        copy = self._made(facts)
        before = network.variables + network.optimizer.variables
        for variable, value in zip(copy.variables + copy.optimizer.variables, before, strict=True):
            variable.assign(value)
        return copy

    def train(self, step: Step, network: keras.Model, images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Make a training step, as a part of a graph.

        Parameters
        ----------
        step : callable
            Called for each device with images and targets of the whole batch, and the device's part of it.

        Returns
        -------
        tuple of Tensor
            The results on the first device.
        """
        part = Part(tf.shape(images)[0])

        def on_device(images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, ...]:
            if self._of_machines:
                weights = [each.value for each in network.variables]
                images, targets, *sent = from_first(images, targets, *weights)
                for weight, value in zip(weights, sent, strict=True):
                    weight.assign(value)
            return step(images, targets, part)

        with splitting(network, part):
            return self._run(on_device, images, targets)

    @contextmanager
    def stepping(self, pairs: int) -> Iterator[None]:
        """Have all machines make a training step, which is made within.

        Raises
        ------
        UserError
            If a machine is gone.
        """
        self._say(np.array([STEP, pairs]))
        self._reached = False
        with self._all_there():
            yield
        self._reached = True

    def follow(self, step_of: Callable[[keras.Model, dict[str, Any]], Callable[[int], object]]) -> None:
        """Train as the first machine says, until its stage ends.

        Parameters
        ----------
        step_of : callable
            From a network and the facts about it to what makes a step on a number of pairs.

        Raises
        ------
        UserError
            If a machine is gone.
        """
        step: Callable[[int], object] = lambda pairs: None
        while (said := self._say(np.zeros(2)).astype(int).tolist())[0] != END:
            if said[0] == NETWORK:
                facts = json.loads(self._say(np.zeros(said[1])).astype(np.uint8).tobytes())
                step = step_of(self._made(facts), facts)
            else:
                with self._all_there():
                    step(said[1])

    def _made(self, facts: dict[str, Any]) -> keras.Model:
        """A compiled network with weights on all devices; machines send initial ones, so all make it alike."""
        with self._strategy.scope():
            network = keras.models.model_from_json(facts["network"])
            network.compile(optimizer=Adam.from_config(facts["optimizer"]))
            network.optimizer.build(network.trainable_variables)
        speed_up(network)
        network._distribute_strategy = None  # it predicts on the first device, as other networks do
        return network

    def _say(self, numbers: np.ndarray) -> np.ndarray:
        """What the first machine says; the others give as many numbers, whatever they are."""
        if not self._of_machines:
            return numbers
        with self._all_there():
            return np.asarray(self._said(numbers.astype(np.float32)).numpy())

    def _run(self, step: Callable[..., tuple[tf.Tensor, ...]], *tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
        results = self._strategy.run(step, tensors)
        return tuple(self._strategy.experimental_local_results(each)[0] for each in results)

    @contextmanager
    def _all_there(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            if not self._of_machines:
                raise
            self._reached = False
            raise UserError(f"a machine that TF_CONFIG names is gone: {error.message[:200]}") from None

    def _end(self) -> None:
        if self._reached:
            self._say(np.array([END, 0]))
