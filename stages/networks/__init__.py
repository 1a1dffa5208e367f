"""Networks, one file each; stages/choices.yaml lists them."""

from importlib import import_module
from pathlib import Path

import keras

from stages.errors import UserError
from stages.networks import layers  # noqa: F401  registers what saved networks hold
from stages.params import NetworkParams


def build(options: NetworkParams, image_shape: tuple[int, int, int], policy: str, seed: int) -> keras.Model:
    """A network with fresh weights.

    Parameters
    ----------
    options : NetworkParams
        Which network, nulls replaced.
    image_shape : tuple of int
        Height, width and channels of an image; its values are expected in [0, 1].
    policy : {"float32", "mixed_bfloat16"}
        What it computes in; weights and outputs are float32 in either.
    seed : int
        Of its weights and its dropout.

    Returns
    -------
    keras.Model
        From images (n, h, w, c) to probabilities (n, h, w, 1), float32.
    """
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed % 2**32)
    network: keras.Model = import_module(f"stages.networks.{options.name}").build(options, image_shape)
    return network


def load(path: Path) -> keras.Model:
    """A saved network, with its optimizer if it has one.

    Raises
    ------
    UserError
        If there is no such file, or it is not a network.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; `dvc checkout {path}` or `dvc repro` brings it back")
    try:
        network: keras.Model = keras.saving.load_model(path, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for damaged files
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a Keras model: {reason}; `dvc checkout --force {path}` restores it") from None
    return network
