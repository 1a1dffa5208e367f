"""The average of a network's weights over moments of its training (Izmailov et al., 2018)."""

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
