"""Averages of a network's weights over its training: over some moments (Izmailov et al., 2018), or a moving one."""

from collections.abc import Mapping

import keras
import numpy as np


class RunningAverage:
    """The mean of a network's trainable weights over the moments at which they were remembered.

    Parameters
    ----------
    network : keras.Model
        The network that trains.
    """

    def __init__(self, network: keras.Model) -> None:
        self._variables: list[keras.Variable] = network.trainable_variables
        self._mean: list[np.ndarray] = []
        self._count = 0

    def remember(self) -> None:
        """Take the weights as they are now into the average."""
        weights = [variable.numpy() for variable in self._variables]
        self._count += 1
        self._mean = [old + (new - old) / self._count for old, new in zip(self._mean or weights, weights, strict=True)]

    def recall(self) -> bool:
        """Put the average in place of the weights and start anew; False, and nothing is done, if there is none."""
        if not self._count:
            return False
        for variable, mean in zip(self._variables, self._mean, strict=True):
            variable.assign(mean)
        self._mean, self._count = [], 0
        return True

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for a checkpoint: ``average 0``, … in the shapes of the weights, and ``remembered``, their number."""
        return {**{f"average {n}": mean for n, mean in enumerate(self._mean)}, "remembered": np.array(self._count)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a `state` of the same network; other arrays may stand beside its own."""
        self._count = int(state["remembered"])
        self._mean = [state[f"average {n}"] for n in range(len(self._variables))] if self._count else []


class MovingAverage:
    """A twin of a network whose weights are the exponential moving average of its own (Polyak & Juditsky, 1992).

    The statistics of batch normalisation move as fast as the weights do, so that they fit the average.

    Parameters
    ----------
    network : keras.Model
        The network that trains; the momentum of its batch normalisation is set.
    decay : float
        Share of the average that a step keeps, in [0, 1): .9 averages over some ten steps. With 0 the network is
        its own twin, and nothing is done.

    Attributes
    ----------
    network : keras.Model
        The twin, which predicts.
    """

    def __init__(self, network: keras.Model, decay: float) -> None:
        self._decay = decay
        self.network: keras.Model = network
        self._weights: list[tuple[keras.Variable, keras.Variable]] = []
        self._statistics: list[tuple[keras.Variable, keras.Variable]] = []
        if not decay:
            return
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = decay
        self.network = keras.models.clone_model(network)
        self._weights = list(zip(self.network.trainable_variables, network.trainable_variables, strict=True))
        others = zip(self.network.non_trainable_variables, network.non_trainable_variables, strict=True)
        # Random states are left alone.
        self._statistics = [pair for pair in others if keras.backend.is_float_dtype(pair[0].dtype)]
        self.begin()

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of the average, for checkpoints."""
        return [average for average, _ in self._weights + self._statistics]

    def begin(self) -> None:
        """Set the average to the weights as they are."""
        for average, variable in self._weights + self._statistics:
            average.assign(variable)

    def move(self) -> None:
        """Move the average after a training step; part of its graph, so that nothing is copied in between."""
        for average, variable in self._weights:
            average.value.assign_sub((average.value - variable.value) * (1 - self._decay))
        for average, variable in self._statistics:
            average.value.assign(variable.value)

    def put_back(self) -> None:
        """Replace the weights by the average."""
        for average, variable in self._weights + self._statistics:
            variable.assign(average)
