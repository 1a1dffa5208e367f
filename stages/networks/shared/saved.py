"""Read a saved network, checked."""

import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages.networks.shared.layers import speed_up
from stages.pipeline.errors import UserError


def read_network(path: Path, with_optimizer: bool = True) -> keras.Model:
    """Read a network from a .keras file, in Keras' safe mode.

    Parameters
    ----------
    path : Path
        The file.
    with_optimizer : bool
        Whether to read the optimizer, too, if there is one.

    Returns
    -------
    keras.Model
        From images (n, h, w, c) to probabilities, float32: of masks (n, h, w, 1), of classes of pixels
        (n, h, w, classes), or of labels (n, classes).

    Raises
    ------
    UserError
        If the file is missing or damaged, or holds something else.
    """
    with in_one_line(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # Keras does not verify the checksum of the weights
        if damaged:
            raise UserError(f"damaged: the checksum of {damaged} does not match")
        with warnings.catch_warnings():
            # Keras warns of weights and of an optimizer state that are not there, and goes on with fresh ones.
            warnings.filterwarnings("error", "Skipping", UserWarning)
            network: keras.Model = keras.saving.load_model(path, compile=with_optimizer, safe_mode=True)
        _check_network(network)
    speed_up(network)
    return network


@contextmanager
def in_one_line(path: Path) -> Iterator[None]:
    """Turn any error within into one line that names the file: Keras raises many kinds for damaged files."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: not a Keras model: {reason}") from None


def find_not_finite(variables: Iterable[keras.Variable]) -> keras.Variable | None:
    """The first variable that holds NaN or infinity, if there is one."""
    return next((variable for variable in variables if not _is_finite(variable.numpy())), None)


def _is_finite(values: np.ndarray) -> bool:
    # A finite sum has finite terms, and is quicker than a look at each; finite terms may have a sum that overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _check_network(network: Any) -> None:
    """Raise if a model does not take images to masks or labels, or a weight is NaN or infinite."""
    if not isinstance(network, keras.Model):
        raise UserError(f"it holds a {type(network).__name__}")
    shapes, dtypes = (network.input_shape, network.output_shape), {tensor.dtype for tensor in network.outputs}
    of_masks = len(shapes[0]) == len(shapes[1]) == 4 and shapes[1][:3] == shapes[0][:3]
    of_labels = len(shapes[0]) == 4 and len(shapes[1]) == 2
    if not (of_masks or of_labels) or dtypes != {"float32"}:
        raise UserError(
            f"it takes {shapes[0]} to {shapes[1]}, expected (n, h, w, c) to (n, h, w, 1), (n, h, w, classes) or "
            "(n, classes) in float32"
        )
    optimizer = getattr(network, "optimizer", None)  # one that was never compiled has not even the attribute
    variable = find_not_finite([*network.variables, *(optimizer.variables if optimizer else [])])
    if variable is not None:
        raise UserError(f"its {variable.path} holds values that are not finite")
