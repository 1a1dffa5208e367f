"""Command `export_model`: what it writes predicts elsewhere what the network predicts here."""

import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from stages import export_model
from stages.datasets.shared.image import Range
from stages.learning.optimizers import Adam
from stages.learning.saving import save_network
from stages.networks.shared.build import build_network
from stages.networks.shared.layers import speed_up
from stages.pairs.layout import Layout
from stages.pipeline import paths
from stages.pipeline.errors import UserError
from tests import tiny
from tests.project import network_options
from tests.sets import write_set

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)


def write_core_of(values: Range) -> None:
    write_set(paths.CORE, IMAGES, core_of={"values": values._asdict()})


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> keras.Model:
    """A working folder with the network of a core, and that network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export_model, "set_up_tensorflow", lambda: 1)
    paths.CORE_MODEL.parent.mkdir()
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = tiny.build(network_options("residual_unet", base_filters=2), Layout(1, (16, 16, 3), "uint8"))
    keras.config.set_dtype_policy("float32")
    speed_up(network)
    save(network)
    write_set(paths.CORE, IMAGES, core_of={})  # drawn ones have no range of their own
    return network


def save(network: keras.Model) -> None:
    network.compile(optimizer=Adam(0.01))
    network.optimizer.build(network.trainable_variables)
    save_network(network, paths.CORE_MODEL)


def predict_elsewhere(folder: Path, *words: str) -> str:
    """Run the script of an export without the project; what it prints."""
    done = subprocess.run(
        [sys.executable, "-I", "predict.py", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_that_is_written_predicts_as_the_network_does(core: keras.Model, tmp_path: Path) -> None:
    export_model.main(["out"])
    expected = core.predict_on_batch(IMAGES / np.float32(255))
    found = keras.saving.load_model("out/model.keras")
    assert {layer.compute_dtype for layer in found.layers[1:]} == {"float32"}
    assert getattr(found, "optimizer", None) is None
    np.testing.assert_allclose(found.predict_on_batch(IMAGES / np.float32(255)), expected, atol=0.02)
    served = tf.saved_model.load("out/saved_model")
    np.testing.assert_allclose(served.serve(IMAGES / np.float32(255)), expected, atol=0.02)
    Image.fromarray(IMAGES[1]).save("out/image.png")
    predict_elsewhere(tmp_path / "out", "image.png", "mask.png")
    clear = np.abs(expected[1, :, :, 0] - 0.5) > 0.02
    mask = np.asarray(Image.open("out/mask.png").convert("L"))
    np.testing.assert_array_equal(mask[clear], (expected[1, :, :, 0] > 0.5)[clear] * 255)
    assert len((tmp_path / "out/predict.py").read_text().splitlines()) == 10


def test_a_network_of_classes_names_the_class(core: keras.Model, tmp_path: Path) -> None:
    network = build_network(network_options("dense"), Layout(1, (16, 16, 1), "uint8", classes=3), "float32", 0)
    save(network)
    export_model.main(["out"])
    Image.fromarray(IMAGES[0, :, :, 0]).save("out/image.png")
    printed = predict_elsewhere(tmp_path / "out", "image.png")
    expected = network.predict_on_batch(IMAGES[:1, :, :, :1] / np.float32(255))[0]
    assert int(printed.split()[-2]) == expected.argmax()


@pytest.mark.parametrize("values", [Range(deep=1023), Range(given=(0.0, 1023.0))])
def test_the_script_brings_16_bits_to_the_range_of_the_core(core: keras.Model, tmp_path: Path, values: Range) -> None:
    network = build_network(network_options("dense"), Layout(1, (16, 16, 1), "uint8", classes=3), "float32", 0)
    save(network)
    shutil.rmtree(paths.CORE)
    write_core_of(values)
    export_model.main(["out"])
    deep = IMAGES[0, :, :, 0].astype(np.uint16) * 4
    Image.fromarray(deep).save("out/image.png")
    *_, likely = predict_elsewhere(tmp_path / "out", "image.png").split()
    expected = network.predict_on_batch(deep[None, :, :, None] / np.float32(1023))[0]
    assert abs(float(likely) - expected.max()) < 1e-4


def test_a_folder_that_is_there_stays_as_it_is(core: keras.Model) -> None:
    Path("out").mkdir()
    with pytest.raises(UserError, match=r"^out: is there already"):
        export_model.main(["out"])
    assert not list(Path("out").iterdir())


def test_without_a_core_it_ends_in_one_line(core: keras.Model) -> None:
    paths.CORE_MODEL.unlink()
    with pytest.raises(UserError, match=r"^models/core\.keras: missing"):
        export_model.main(["out"])
    assert not Path("out").exists()


def test_a_network_of_classes_of_pixels_writes_their_numbers(core: keras.Model, tmp_path: Path) -> None:
    network = tiny.build(network_options("residual_unet", base_filters=2), Layout(1, (16, 16, 3), "uint8", 3, "pixels"))
    save(network)
    export_model.main(["out"])
    Image.fromarray(IMAGES[1]).save("out/image.png")
    predict_elsewhere(tmp_path / "out", "image.png", "mask.png")
    expected = network.predict_on_batch(IMAGES[1:2] / np.float32(255))[0].argmax(axis=2)
    found = np.asarray(Image.open("out/mask.png").convert("L"))
    assert (found == expected).mean() > 0.99
