"""Networks, one file each; stages/choices.yaml lists them."""

import json
import math
import re
import warnings
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages import optimizers  # noqa: F401  registers what saved networks hold
from stages.errors import UserError
from stages.networks import layers  # noqa: F401  registers what saved networks hold
from stages.params import NetworkParams
from stages.store import Layout

# What a saved network is: members of its archive, and modules that its parts come from.
CONFIG = "config.json"
MEMBERS = [CONFIG, "metadata.json", "model.weights.h5"]
CONFIG_BYTES = 2**24
MODULES = re.compile(
    r"stages\..+|builtins|keras(\.(layers|initializers|regularizers|constraints|activations|ops|optimizers|losses)"
    r"|\.src\.(models|ops)\..+)?"
)


def build(options: NetworkParams, layout: Layout, policy: str, seed: int) -> keras.Model:
    """A network with fresh weights.

    Parameters
    ----------
    options : NetworkParams
        Which network, nulls replaced.
    layout : Layout
        Of the pairs that it is for: the shape of an image, whose values are expected in [0, 1], and what it predicts.
    policy : {"float32", "mixed_bfloat16"}
        What it computes in; weights and outputs are float32 in either.
    seed : int
        Of its weights and its dropout.

    Returns
    -------
    keras.Model
        From images (n, h, w, c) to probabilities, float32: of masks (n, h, w, 1), or of classes (n, classes).
    """
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed % 2**32)
    network: keras.Model = import_module(f"stages.networks.{options.name}").build(options, layout)
    return network


def load(path: Path) -> keras.Model:
    """A saved network, with its optimizer if it has one.

    The file is checked before Keras sees it: Keras does not verify the checksum of the weights, and builds whatever
    layers the file asks for, of any size.

    Raises
    ------
    UserError
        If there is no such file, or it is not a sound network from images to masks or classes.
    """
    if not path.exists():
        raise UserError(f"{path}: missing; `dvc checkout {path}` or `dvc repro` brings it back")
    try:
        _check_file(path)
        with warnings.catch_warnings():
            # Keras warns of weights and of an optimizer state that are not there, and goes on with fresh ones.
            warnings.filterwarnings("error", "Skipping", UserWarning)
            network: keras.Model = keras.saving.load_model(path, safe_mode=True)
        _check_network(network)
    except Exception as error:  # Keras raises many kinds for damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: not a Keras model: {reason}; `dvc checkout --force {path}` restores it") from None
    return network


def find_not_finite(variables: Iterable[keras.Variable]) -> keras.Variable | None:
    """The first variable that holds what is no finite number, if there is one."""
    return next((variable for variable in variables if not _is_finite(variable.numpy())), None)


def _is_finite(values: np.ndarray) -> bool:
    # A finite sum has finite terms, and is quicker than a look at each; finite terms may have a sum that overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _check_file(path: Path) -> None:
    """Raise if a file is not a network as `keras.Model.save` writes it: a few uncompressed members, checksums right."""
    if not path.is_file():  # a pipe would be waited for
        raise UserError("not a file")
    with zipfile.ZipFile(path) as archive:
        found = [(member.filename, member.compress_type) for member in archive.infolist()]
        if sorted(found) != [(name, zipfile.ZIP_STORED) for name in MEMBERS]:
            raise UserError(f"it holds {sorted(name for name, _ in found)}, expected {MEMBERS}, uncompressed")
        if archive.getinfo(CONFIG).file_size > CONFIG_BYTES:
            raise UserError(f"{CONFIG} is larger than {CONFIG_BYTES} bytes")
        damaged = archive.testzip()
        if damaged:
            raise UserError(f"damaged: the checksum of {damaged} does not match")
        config = json.loads(archive.read(CONFIG))
    _check_modules(config)
    _check_size(config, path.stat().st_size)


def _check_modules(config: Any) -> None:
    """Raise if a network consists of anything but what networks are made of, as a function that loads files."""
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            module = value.get("module") if "class_name" in value else None
            if not (module is None or (isinstance(module, str) and MODULES.fullmatch(module))):
                raise UserError(f"it asks for {value['class_name']!r} of the module {module!r}")
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _check_size(config: Any, file_bytes: int) -> None:
    """Raise if the weights of a network would take more than the file that is said to hold them."""

    def count() -> int:
        # A stateless scope tells the shapes of variables and makes none.
        with keras.StatelessScope(initialize_variables=False):
            network = keras.saving.deserialize_keras_object({**config, "compile_config": None}, safe_mode=True)
            return sum(math.prod(variable.shape) for variable in network.variables)

    with ThreadPoolExecutor(1) as thread:  # what Keras remembers of a scope, it remembers of the thread
        weights = thread.submit(count).result()
    if weights * 4 > file_bytes:
        raise UserError(f"it asks for {weights} weights and holds {file_bytes} bytes")


def _check_network(network: Any) -> None:
    """Raise if a model does not take images to masks or classes, or computes with what is no number."""
    if not isinstance(network, keras.Model):
        raise UserError(f"it holds a {type(network).__name__}")
    shapes, dtypes = (network.input_shape, network.output_shape), {tensor.dtype for tensor in network.outputs}
    of_masks = len(shapes[0]) == 4 and shapes[1] == (*shapes[0][:3], 1)
    of_classes = len(shapes[0]) == 4 and len(shapes[1]) == 2
    if not (of_masks or of_classes) or dtypes != {"float32"}:
        raise UserError(
            f"it takes {shapes[0]} to {shapes[1]}, expected (n, h, w, c) to (n, h, w, 1) or (n, classes) in float32"
        )
    optimizer = getattr(network, "optimizer", None)  # one that was never compiled has not even the attribute
    variable = find_not_finite([*network.variables, *(optimizer.variables if optimizer else [])])
    if variable is not None:
        raise UserError(f"its {variable.path} holds values that are not finite")
