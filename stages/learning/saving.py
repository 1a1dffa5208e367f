"""Save a network with its optimizer, and load it again."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages.learning import optimizers  # noqa: F401  registers the optimizer of saved networks
from stages.networks.shared.saved import read_network
from stages.pipeline.disk import cannot_write
from stages.pipeline.errors import UserError
from stages.pipeline.files import read_output


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
    if getattr(network, "optimizer", None) is None:
        raise UserError(f"{path}: holds no optimizer, expected a model that a stage of Traincore saved")
    return network


def save_network(network: keras.Model, path: Path) -> None:
    """Write a network with its optimizer; equal weights give equal files.

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
        network.save(saved)
        _copy_reproducibly(saved, path)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        if isinstance(error, RuntimeError) and "No space left" not in reason:  # HDF5's error on a full disk
            raise
        raise cannot_write(reason, 2 * bytes_of(network), path) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bytes_of(network: keras.Model) -> int:
    """About the size of a saved network: its weights and the optimizer's two moments of each."""
    return sum(4 * int(np.prod(variable.shape)) for variable in variables_of(network))


def variables_of(network: keras.Model) -> list[keras.Variable]:
    """All variables of a compiled network and of its optimizer, in their order."""
    variables: list[keras.Variable] = network.variables + network.optimizer.variables
    return variables


def _copy_reproducibly(saved: Path, target: Path) -> None:
    """Copy a .keras file without the parts that differ from run to run: dates, and addresses in memory."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(target, "w") as copy:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "metadata.json":
                content = json.dumps({**json.loads(content), "date_saved": ""}).encode()
            elif name == "config.json":
                content = json.dumps(_without_addresses(json.loads(content))).encode()
            copy.writestr(zipfile.ZipInfo(name), content)


def _without_addresses(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without_addresses(value) for key, value in config.items() if key != "shared_object_id"}
    return [_without_addresses(value) for value in config] if isinstance(config, list) else config
