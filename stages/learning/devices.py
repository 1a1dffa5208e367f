"""The devices that a network trains on together: GPUs of one machine, or of all machines that ``TF_CONFIG`` names.

Each device trains on a part of a batch, and all of them come to the weights that one device would come to, but for
rounding. Of several machines the first runs the stage and the others follow it. In each step it sends them the batch
and the weights, so that they need no data, write nothing and decide nothing.
"""

import atexit
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from functools import cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages.learning.machines import machines, meet
from stages.learning.optimizers import Adam
from stages.networks.shared.layers import BatchNormalization, as_keras, speed_up, splitting
from stages.networks.shared.parts import Part, from_first
from stages.pairs.layout import Layout
from stages.pipeline.errors import UserError
from stages.pipeline.versions import versions

END, NETWORK, STEP = range(3)  # what the first machine does next
Step = Callable[[tf.Tensor, tf.Tensor, Part], tuple[tf.Tensor, ...]]


@cache
def devices() -> "Devices | None":
    """All devices, once all machines are there; None if there is one device, which needs nothing to train alone."""
    if len(machines().names) > 1:
        return DevicesOfMachines()
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return Devices(tf.distribute.MirroredStrategy([each.name for each in found])) if len(found) > 1 else None


def on_all_devices(network: keras.Model, layout: Layout, loss: str) -> keras.Model:
    """A compiled network itself, or if there are several devices a copy with its weights on all of them."""
    together = devices()
    return together.spread(network, {"layout": asdict(layout), "loss": loss}) if together else network


class Devices:
    """Several devices.

    Parameters
    ----------
    strategy : tf.distribute.Strategy
        What they train together by.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy

    def spread(self, network: keras.Model, facts: dict[str, Any]) -> keras.Model:
        """A copy of a compiled network, with its weights on all devices.

        Parameters
        ----------
        facts : dict of JSON values
            What other machines have to know of its training.

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
            facts = {**facts, "network": network.to_json(), "optimizer": network.optimizer.get_config()}
        copy = self._told(facts)
        before = network.variables + network.optimizer.variables
        for variable, value in zip(copy.variables + copy.optimizer.variables, before, strict=True):
            variable.assign(value)
        return copy

    def train(self, step: Step, network: keras.Model, images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Make a training step on a batch, as a part of a graph.

        Parameters
        ----------
        step : callable
            Called for each device with images and targets of the whole batch, and the device's part of it.

        Returns
        -------
        tuple of Tensor
            The results of the first device of this machine.
        """
        part = Part(tf.shape(images)[0])
        with splitting(network, part):
            return self._run(lambda images, targets: step(images, targets, part), images, targets)

    def stepping(self, pairs: int) -> AbstractContextManager[None]:
        """Have all machines make a training step on that many pairs, which is made within.

        Raises
        ------
        UserError
            If a machine is gone.
        """
        return nullcontext()

    def _told(self, facts: dict[str, Any]) -> keras.Model:
        """A network on all devices, after other machines were told to make theirs."""
        return self._made(facts)

    def _made(self, facts: dict[str, Any]) -> keras.Model:
        with self._strategy.scope():
            network = keras.models.model_from_json(facts["network"])
            network.compile(optimizer=Adam.from_config(facts["optimizer"]))
            network.optimizer.build(network.trainable_variables)
        speed_up(network)
        network._distribute_strategy = None  # it predicts on the first device, as other networks do
        return network

    def _run(self, step: Callable[..., tuple[tf.Tensor, ...]], *tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
        results = self._strategy.run(step, tensors)
        return tuple(self._strategy.experimental_local_results(each)[0] for each in results)


class DevicesOfMachines(Devices):
    """The devices of several machines, once all of them are there."""

    def __init__(self) -> None:
        meet(machines())
        super().__init__(tf.distribute.MultiWorkerMirroredStrategy())
        # TensorFlow has put a handler of its own in place of the one that ends a stage.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        self._reached = True  # whether the others wait for what the first says next
        self._said = tf.function(
            lambda numbers: self._run(from_first, numbers),
            input_signature=[tf.TensorSpec((None,), tf.float32)],
            autograph=False,
        )
        if not machines().index:
            atexit.register(self._end)

    def train(self, step: Step, network: keras.Model, images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Make a training step on a batch and from weights that the first machine has; else as on one machine."""
        weights = [variable.value for variable in network.variables]

        def sent(images: tf.Tensor, targets: tf.Tensor, part: Part) -> tuple[tf.Tensor, ...]:
            images, targets, *values = from_first(images, targets, *weights)
            for weight, value in zip(weights, values, strict=True):
                weight.assign(value)
            return step(images, targets, part)

        return super().train(sent, network, images, targets)

    @contextmanager
    def stepping(self, pairs: int) -> Iterator[None]:
        """Have all machines make a training step, see `Devices.stepping`."""
        with self._told_all(), _all_there():
            self._say(np.array([STEP, pairs]))
            yield

    def follow(self, step_of: Callable[[keras.Model, dict[str, Any]], Callable[[int], object]]) -> None:
        """Train as the first machine says, until its stage ends.

        Parameters
        ----------
        step_of : callable
            From a network and the facts of its training to what makes a step on a number of pairs.

        Raises
        ------
        UserError
            If a machine is gone, or the first one has other versions of packages or of the code.
        """
        steps = []
        while (said := self._say(np.zeros(2)).astype(int).tolist())[0] != END:
            if said[0] == NETWORK:
                facts = json.loads(self._say(np.zeros(said[1])).astype(np.uint8).tobytes())
                for name, version in versions().items():
                    if facts["versions"].get(name) != version:
                        raise UserError(f"{name} {version} here, {facts['versions'].get(name)} on the first machine")
                steps = [step_of(self._made(facts), facts)]
            else:
                with _all_there():
                    steps[0](said[1])

    def _told(self, facts: dict[str, Any]) -> keras.Model:
        text = json.dumps({**facts, "versions": versions()}, default=float).encode()
        with self._told_all(), _all_there():
            self._say(np.array([NETWORK, len(text)]))
            self._say(np.frombuffer(text, np.uint8))
            return self._made(facts)

    @contextmanager
    def _told_all(self) -> Iterator[None]:
        """Note that the others are not told that the stage ends, where this is left halfway: they would not hear it."""
        self._reached = False
        yield
        self._reached = True

    def _say(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers that the first machine says; the others give as many, whatever they are."""
        with _all_there():
            return np.asarray(self._said(numbers.astype(np.float32))[0].numpy())

    def _end(self) -> None:
        if self._reached:
            with suppress(UserError):
                self._say(np.array([END, 0]))


@contextmanager
def _all_there() -> Iterator[None]:
    """Turn errors of a machine that does not answer into one line."""
    try:
        yield
    except (tf.errors.AbortedError, tf.errors.InternalError, tf.errors.UnavailableError) as error:
        raise UserError(
            f"a machine that TF_CONFIG names is gone ({type(error).__name__}): start it and the same command again"
        ) from None
