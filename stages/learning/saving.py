"""Save a network with its optimizer, and load it again."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages.learning.optimizers import Adam
from stages.networks.shared.layers import as_keras, turn_into
from stages.networks.shared.saved import read_network
from stages.pipeline.disk import cannot_write
from stages.pipeline.errors import UserError
from stages.pipeline.files import read_output

RANDOM = "random_states.json"  # a part of a saved network that Keras does not look at
EXPECTED = "expected a model that a stage of Traincore saved"


def load_network(path: Path) -> keras.Model:
    """Load a network that a stage saved, with its optimizer if it has one.

    Raises
    ------
    UserError
        If there is no such file, or it is damaged.
    """
    return read_output(path, read_network)


def load_with_optimizer(path: Path) -> keras.Model:
    """Load a saved network that training can go on with.

    Raises
    ------
    UserError
        If there is no such file, or it is not a network with an optimizer.
    """
    network = load_network(path)
    if type(getattr(network, "optimizer", None)) is not keras.optimizers.Adam:
        raise UserError(f"{path}: holds no optimizer, {EXPECTED}")
    turn_into(Adam, network.optimizer)
    _restore_random_states(network, path)
    return network


def save_network(network: keras.Model, path: Path) -> None:
    """Write a network with its optimizer as Keras' own, which needs no code but Keras; equal weights give equal files.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    folder = path.with_suffix(".saving")
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed run
    try:
        folder.mkdir()
        saved = folder / "network.keras"
        with as_keras(network):
            turn_into(keras.optimizers.Adam, network.optimizer)
            network.save(saved)
        _copy_reproducibly(saved, path, _random_states(network))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        if isinstance(error, RuntimeError) and "No space left" not in reason:  # HDF5's error on a full disk
            raise
        raise cannot_write(reason, 2 * bytes_of(network), path) from None
    finally:
        turn_into(Adam, network.optimizer)
        shutil.rmtree(folder, ignore_errors=True)


def bytes_of(network: keras.Model) -> int:
    """About the size of a saved network: its weights and the optimizer's two moments of each."""
    return sum(4 * int(np.prod(variable.shape)) for variable in variables_of(network))


def variables_of(network: keras.Model) -> list[keras.Variable]:
    """All variables of a compiled network and of its optimizer, in their order."""
    variables: list[keras.Variable] = network.variables + network.optimizer.variables
    return variables


def _random_states(network: keras.Model) -> list[keras.Variable]:
    """The random states of a network's dropout, layer by layer."""
    dropouts = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.Dropout) and layer.rate]
    return [layer.seed_generator.state for layer in dropouts]


def _restore_random_states(network: keras.Model, path: Path) -> None:
    """Have a loaded network drop what the saved one would have dropped."""
    try:
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read(RANDOM))
        for state, value in zip(_random_states(network), saved, strict=True):
            state.assign(np.array(value, np.uint32))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: holds no random states of dropout, {EXPECTED}") from None


def _copy_reproducibly(saved: Path, target: Path, states: list[keras.Variable]) -> None:
    """Copy a .keras file without the parts that differ from run to run: dates, and addresses in memory.

    The random states of dropout, which Keras does not save, become a part of their own.
    """
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(target, "w") as copy:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "metadata.json":
                content = json.dumps({**json.loads(content), "date_saved": ""}).encode()
            elif name == "config.json":
                content = json.dumps(_without_addresses(json.loads(content))).encode()
            copy.writestr(zipfile.ZipInfo(name), content)
        copy.writestr(zipfile.ZipInfo(RANDOM), json.dumps([state.numpy().tolist() for state in states]))


def _without_addresses(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without_addresses(value) for key, value in config.items() if key != "shared_object_id"}
    return [_without_addresses(value) for value in config] if isinstance(config, list) else config
