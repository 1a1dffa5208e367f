"""Build a network by its name, with fresh weights."""

from importlib import import_module

import keras

from stages.networks.shared.layers import speed_up
from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams


def build_network(options: NetworkParams, layout: Layout, policy: str, seed: int) -> keras.Model:
    """A network with fresh weights.

    Parameters
    ----------
    options : NetworkParams
        The network's name and options.
    layout : Layout
        Shapes of its pairs: of an image, whose values are expected in [0, 1], and of what it predicts.
    policy : {"float32", "mixed_bfloat16"}
        Precision to compute in; weights and outputs are float32 in either.
    seed : int
        Random seed of its weights and its dropout.

    Returns
    -------
    keras.Model
        From images (n, h, w, c) to probabilities, float32: of masks (n, h, w, 1), of classes of pixels
        (n, h, w, classes), or of labels (n, classes).
    """
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed % 2**32)
    network: keras.Model = import_module(f"stages.networks.{options.name}").build(options, layout)
    speed_up(network)
    return network
