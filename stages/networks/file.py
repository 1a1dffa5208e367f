"""A network of one's own, from a .keras file, with the weights that it has there."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages.networks.shared.saved import in_one_line, read_network
from stages.pairs.layout import Layout
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import NetworkParams

# The file may come from a stranger: its parts may come from these modules alone, not from those of Keras that read
# files or download.
MODULES = re.compile(
    r"builtins|keras(\.(layers|initializers|regularizers|constraints|activations|ops|optimizers"
    r"|losses)|\.src\.(models|ops)\..+)?"
)

ROUNDING = 1e-2  # of the sum of a pixel's probabilities, in any precision
SMALL = 0.1  # a layer that scales by less is meant for images of 0 to 255


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """The network of ``options.path``, read in Keras' safe mode; it computes in the precision that it was saved with.

    A network that takes images of any size is fixed to that of the pairs. Its optimizer is left out.

    Raises
    ------
    UserError
        If there is no such file, it is no network from images to masks, or it takes images of another shape.
    """
    path = Path(options.path)
    if not path.is_file():
        raise UserError(f"network.path is {options.path!r}, allowed is a .keras file")
    keras.config.set_dtype_policy("float32")  # of the model around the layers, which have their own
    with in_one_line(path):
        _check_modules(path)
    network = read_network(path, with_optimizer=False)
    taken = network.input_shape[1:]
    if any(size not in (None, own) for size, own in zip(taken, layout.image_shape, strict=True)):
        raise UserError(f"{path}: takes images of {taken}, those of the data set are {layout.image_shape}")
    if taken != layout.image_shape:
        weights = network.get_weights()
        try:
            network = keras.models.clone_model(network, input_tensors=keras.Input(layout.image_shape))
        except Exception as error:  # Keras raises many kinds for sizes that do not go through the layers
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: does not take images of {layout.image_shape}: {reason}") from None
        network.set_weights(weights)
    if network.output_shape[1:] != layout.prediction_shape:
        raise UserError(
            f"{path}: predicts {network.output_shape[1:]}, for the data set it has to be {layout.prediction_shape}"
        )
    if any(isinstance(layer, keras.layers.Rescaling) and np.max(layer.scale) < SMALL for layer in network.layers):
        raise UserError(f"{path}: scales its images down by a layer of its own; here they come in [0, 1] already")
    if options.output == "logits":
        activation = "softmax" if layout.classes else "sigmoid"
        return keras.Model(network.inputs, keras.layers.Activation(activation, dtype="float32")(network.outputs[0]))
    _require_probabilities(path, network)
    return network


def _require_probabilities(path: Path, network: keras.Model) -> None:
    """Raise if a network predicts values outside of [0, 1] for some noise."""
    noise = np.random.default_rng(0).random((4, *network.input_shape[1:]), np.float32)
    predicted = network.predict_on_batch(noise)
    if predicted.min() < 0 or predicted.max() > 1:
        raise UserError(
            f"{path}: predicts values from {predicted.min():.3g} to {predicted.max():.3g}, allowed are "
            "probabilities in [0, 1]; network.output=logits puts a sigmoid, or a softmax of classes, behind it"
        )
    if predicted.shape[-1] > 1 and abs(predicted.sum(axis=-1) - 1).max() > ROUNDING:
        raise UserError(
            f"{path}: predicts classes whose probabilities do not add up to 1 in each pixel; "
            "network.output=logits puts a softmax behind it"
        )


def _check_modules(path: Path) -> None:
    """Raise if a part of a network comes from a module that is not allowed."""
    with zipfile.ZipFile(path) as archive:
        config: dict[str, Any] = json.loads(archive.read("config.json"))
    pending: list[Any] = [{**config, "compile_config": None}]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            module = value.get("module") if "class_name" in value else None
            if not (module is None or (isinstance(module, str) and MODULES.fullmatch(module))):
                raise UserError(f"it asks for {value['class_name']!r} of the module {module!r}")
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
