"""Put other weights into a network that trains, and what its optimizer counted and averaged with them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages.learning.saving import load_with_optimizer
from stages.pipeline.errors import UserError


def renew_weights(network: keras.Model, seed: int) -> None:
    """Put fresh weights into a compiled network: those that a new one of this seed has."""
    keras.utils.set_random_seed(seed % 2**32)
    fresh = keras.models.clone_model(network)
    for variable, initial in zip(network.variables, fresh.variables, strict=True):
        variable.assign(initial)
    _set_optimizer(network, [np.zeros(variable.shape, variable.dtype) for variable in network.optimizer.variables])


def take_over_weights(network: keras.Model, path: Path) -> None:
    """Put the weights of a saved network into a compiled one of the same build.

    Raises
    ------
    UserError
        If there is no such file, or its network is built otherwise.
    """
    earlier = load_with_optimizer(path)
    shapes = [[variable.shape for variable in each.variables] for each in (earlier, network)]
    if earlier.name != network.name or shapes[0] != shapes[1]:
        raise UserError(
            f"{path}: a network {earlier.name} of {earlier.count_params()} weights, the parameters ask for "
            f"{network.name} of {network.count_params()}; network has to be what that run had"
        )
    for variable, value in zip(network.variables, earlier.variables, strict=True):
        variable.assign(value)
    _set_optimizer(network, earlier.optimizer.variables)


def _set_optimizer(network: keras.Model, values: Iterable[Any]) -> None:
    """Set the optimizer's step count and moments; its learning rate is a parameter and stays."""
    optimizer = network.optimizer
    for variable, value in zip(optimizer.variables, values, strict=True):
        if variable is not optimizer._learning_rate:
            variable.assign(value)
