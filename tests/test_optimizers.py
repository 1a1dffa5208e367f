"""The fused Adam against Keras' own."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from stages.learning.optimizers import Adam


def steps(optimizer: keras.optimizers.Optimizer, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    variable = keras.Variable(rng.normal(size=(5, 7)).astype(np.float32))
    optimizer.build([variable])
    for _ in range(count):
        optimizer.apply([tf.constant(rng.normal(size=(5, 7)), tf.float32)], [variable])
    return np.asarray(variable.value.numpy())


def test_it_moves_weights_as_keras_does() -> None:
    for count in (1, 30):
        ours, stock = steps(Adam(0.01), count), steps(keras.optimizers.Adam(0.01), count)
        np.testing.assert_allclose(ours, stock, rtol=1e-5, atol=1e-6)


def test_its_state_is_saved_with_the_network(tmp_path: Path) -> None:
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    network.compile(optimizer=Adam(0.01))
    gradients = [tf.ones(weight.shape) for weight in network.trainable_variables]
    network.optimizer.build(network.trainable_variables)
    network.optimizer.apply(gradients, network.trainable_variables)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert int(loaded.optimizer.iterations) == 1
    for _ in range(3):
        for each in (network, loaded):
            each.optimizer.apply(gradients, each.trainable_variables)
    for old, new in zip(network.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
