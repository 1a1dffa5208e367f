"""Saved networks: they need nothing but Keras, and come back as fast networks."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from stages.learning.optimizers import Adam
from stages.learning.saving import load_with_optimizer, save_network
from stages.networks.shared.layers import FAST, speed_up
from stages.pairs.layout import Layout
from tests import tiny
from tests.project import network_options

STRANGER = """
import keras, numpy
network = keras.saving.load_model("core.keras")
numpy.save("predicted.npy", network.predict(numpy.load("images.npy"), verbose=0))
network.fit(numpy.load("images.npy"), numpy.load("masks.npy"), verbose=0)
print(type(network.optimizer).__module__, {type(layer).__module__.split(".")[0] for layer in network.layers})
"""


def tiny_network(policy: str) -> keras.Model:
    """A network with a layer of each kind, as a stage has it."""
    keras.config.set_dtype_policy(policy)
    network = tiny.build(network_options("residual_unet", base_filters=2), Layout(1, (16, 16, 3), "uint8"))
    keras.config.set_dtype_policy("float32")
    speed_up(network)
    network.compile(optimizer=Adam(0.01), loss="binary_crossentropy")
    network.optimizer.build(network.trainable_variables)
    return network


def classes(network: keras.Model) -> list[type]:
    return [type(layer) for layer in network.layers]


@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-4), ("mixed_bfloat16", 0.05)])
def test_a_stranger_loads_it_with_keras_alone(policy: str, tolerance: float, tmp_path: Path) -> None:
    network = tiny_network(policy)
    fast = classes(network)
    assert set(FAST.values()) <= set(fast)
    save_network(network, tmp_path / "core.keras")
    assert classes(network) == fast
    assert type(network.optimizer) is Adam
    images = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "masks.npy", (images[..., :1] > 0.5).astype(np.float32))
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["keras.src.optimizers.adam", "{'keras'}"]
    np.testing.assert_allclose(np.load(tmp_path / "predicted.npy"), network.predict_on_batch(images), atol=tolerance)


def test_it_comes_back_with_fast_layers_that_drop_what_they_would_have_dropped(tmp_path: Path) -> None:
    network = tiny_network("float32")
    images = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
    network(images, training=True)
    save_network(network, tmp_path / "core.keras")
    again = load_with_optimizer(tmp_path / "core.keras")
    assert classes(again) == classes(network)
    assert type(again.optimizer) is Adam
    np.testing.assert_array_equal(again(images, training=True), network(images, training=True))


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.BatchNormalization(scale=False),
        keras.layers.BatchNormalization(axis=1),
        keras.layers.BatchNormalization(renorm=True),
        keras.layers.BatchNormalization(dtype="float64"),
        keras.layers.Dropout(0.5, dtype="float16"),
        keras.layers.Dropout(0.5, noise_shape=(None, 1, 1, None)),
        keras.layers.Conv2DTranspose(3, 3, padding="same", use_bias=False),
        keras.layers.Conv2DTranspose(3, 3, padding="same", dilation_rate=2),
    ],
)
def test_a_layer_that_is_set_otherwise_stays_as_it_is(layer: keras.layers.Layer) -> None:
    images = keras.Input((8, 8, 3))
    network = keras.Model(images, layer(images))
    speed_up(network)
    assert type(network.layers[1]) in FAST
