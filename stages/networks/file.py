"""A network of one's own, from a .keras file, with the weights that it has there."""

from pathlib import Path

import keras

from stages.errors import UserError
from stages.networks import load
from stages.params import NetworkParams
from stages.store import Layout


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """The network of ``options.path``, read in Keras' safe mode; it computes in the precision that it was saved with.

    One that takes images of any size is fixed to that of the pairs.

    Raises
    ------
    UserError
        If there is no such file, it is no network from images to masks, or it takes images of another shape.
    """
    if not Path(options.path).is_file():
        raise UserError(f"network.path is {options.path!r}, allowed is a .keras file")
    keras.config.set_dtype_policy("float32")  # of what holds layers, which have their own
    try:
        network = load(Path(options.path))
    except UserError as error:
        raise UserError(str(error).partition("; `dvc")[0]) from None  # it is no output of a stage
    taken = network.input_shape[1:]
    if any(size not in (None, own) for size, own in zip(taken, layout.image_shape, strict=True)):
        raise UserError(f"{options.path}: takes images of {taken}, those of the data set are {layout.image_shape}")
    if taken != layout.image_shape:
        weights = network.get_weights()
        try:
            network = keras.models.clone_model(network, input_tensors=keras.Input(layout.image_shape))
        except Exception as error:  # Keras raises many kinds for sizes that do not go through the layers
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{options.path}: does not take images of {layout.image_shape}: {reason}") from None
        network.set_weights(weights)
    if network.output_shape[1:] != layout.target_shape:
        raise UserError(
            f"{options.path}: predicts {network.output_shape[1:]}, the masks of the data set are {layout.target_shape}"
        )
    return network
