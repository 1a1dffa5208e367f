"""Networks, one file each; stages/choices.yaml lists them."""

from importlib import import_module

import keras

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
