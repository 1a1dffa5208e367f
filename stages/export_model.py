"""A plain command: the core's network for those who have no Traincore. `python -m stages.export_model FOLDER`.

It writes the network as Keras' own file and as a SavedModel of TensorFlow, where `tf2onnx` is installed as ONNX, too,
and a short script that predicts an image by it. All of them compute in float32.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.datasets.shared.image import Range
from stages.learning.tensorflow import set_up_tensorflow
from stages.pairs.read import Pairs
from stages.pipeline import paths
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic, read_output

if TYPE_CHECKING:
    import keras

COLOR_MODES = {1: "grayscale", 3: "rgb", 4: "rgba"}  # by the number of channels
SCRIPT = '''"""Predict {what}: python predict.py IMAGE{target}, of 8 bits or grey of 16; scaled, not turned by EXIF."""
import sys

import keras

network = keras.saving.load_model("model.keras")
image = keras.utils.load_img(sys.argv[1], color_mode="{color_mode}", target_size=network.input_shape[1:3])
low, high = {values}
predicted = network.predict(((keras.utils.img_to_array(image) - low) / (high - low)).clip(0, 1)[None])[0]
{use}
'''
OF_MASKS = {
    "what": "a mask",
    "target": " MASK",
    "use": "keras.utils.save_img(sys.argv[2], (predicted > 0.5) * 255.0, scale=False)",
}
OF_CLASSES = {
    "what": "a mask of classes, each as its place among them, 0 for the background",
    "target": " MASK",
    "use": "keras.utils.save_img(sys.argv[2], predicted.argmax(axis=2)[:, :, None], scale=False)",
}
OF_LABELS = {"what": "a class", "target": "", "use": "print(predicted.argmax(), predicted.max())"}


def main(words: list[str] | None = None) -> None:
    """Write the network into a folder that is not there yet."""
    parser = argparse.ArgumentParser(prog="export_model", description="Write the core's network for use elsewhere.")
    parser.add_argument("folder", type=Path, help="where to; must not be there yet")
    target = parser.parse_args(words).folder
    if target.exists():
        raise UserError(f"{target}: is there already; name a folder that is to be made")
    values = Range.of_core(Pairs(paths.CORE).attributes)
    set_up_tensorflow()
    from stages.networks.shared.saved import read_network  # imports TensorFlow: bad input need not wait for that

    network = in_float32(read_output(paths.CORE_MODEL, read_network, False))
    with atomic(target) as (folder,):
        folder.mkdir()
        network.save(folder / "model.keras")
        network.export(folder / "saved_model", verbose=False)
        if find_spec("tf2onnx"):
            network.export(folder / "model.onnx", format="onnx", verbose=False)
        (folder / "predict.py").write_text(script(network, values), encoding="utf-8")
        found = sorted(path.name for path in folder.iterdir())
    print(f"export_model: {', '.join(found)} in {target}")


def in_float32(network: "keras.Model") -> "keras.Model":
    """A network of Keras' own layers with the same weights that computes in float32."""
    import keras

    from stages.networks.shared.layers import as_keras

    with as_keras(network):
        copy = keras.models.clone_model(network, clone_function=_in_float32, recursive=True)
    copy.set_weights(network.get_weights())
    return copy


def _in_float32(layer: Any) -> Any:
    """A copy of a layer, or of a plain operation between layers, which has no precision of its own."""
    import keras

    changes = {"dtype": "float32"} if isinstance(layer, keras.layers.Layer) else {}
    return type(layer).from_config({**layer.get_config(), **changes})


def script(network: "keras.Model", values: Range) -> str:
    """The script that predicts an image by a network that was trained on images of a range."""
    low_and_high = f'0, {values.deep} if image.mode.startswith("I") else 255  # of 16 bits, or of 8'
    if values.given:
        low_and_high = ", ".join(f"{value:g}" for value in values.given)
    use = OF_LABELS if len(network.output_shape) == 2 else OF_CLASSES if network.output_shape[3] > 1 else OF_MASKS
    return SCRIPT.format(color_mode=COLOR_MODES[network.input_shape[3]], values=low_and_high, **use)


if __name__ == "__main__":
    run("export_model", main)
