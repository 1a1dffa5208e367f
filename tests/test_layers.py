"""The fast layers against Keras' own: the same outputs, gradients and statistics."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.networks.shared.layers import BatchNormalization, Conv2DTranspose, Dropout

TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 2e-2}
POLICIES = list(TOLERANCE)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 2, shape).astype(np.float32)


def run(layer: Any, inputs: np.ndarray, upstream: np.ndarray, **options: object) -> dict[str, np.ndarray]:
    """Outputs, gradients and non-trainable weights of a layer, as float32."""
    x = tf.cast(inputs, layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, **options)
        total = tf.reduce_sum(tf.cast(outputs, tf.float32) * upstream)
    gradients = tape.gradient(total, [x, *layer.trainable_variables])
    results = {"outputs": outputs, "inputs": gradients[0]}
    results |= {f"gradient {n}": value for n, value in enumerate(gradients[1:])}
    results |= {f"statistic {n}": value.value for n, value in enumerate(layer.non_trainable_weights)}
    return {name: tf.cast(value, tf.float32).numpy() for name, value in results.items()}


def assert_agree(ours: dict[str, np.ndarray], stock: dict[str, np.ndarray], tolerance: float) -> None:
    assert ours.keys() == stock.keys()
    for name, expected in stock.items():
        size = np.abs(expected).max() + 1e-6
        assert np.abs(ours[name] - expected).max() <= tolerance * size, name


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("channels", [16, 6])
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_agrees_with_keras(policy: str, channels: int, training: bool) -> None:
    ours, stock = BatchNormalization(dtype=policy), keras.layers.BatchNormalization(dtype="float32")
    inputs, upstream = noise(3, 8, 8, channels), noise(3, 8, 8, channels, seed=1)
    for layer in (ours, stock):
        layer.build(inputs.shape)
        layer.set_weights([noise(channels, seed=n) ** 2 + 0.5 for n in range(4)])
    assert_agree(
        run(ours, inputs, upstream, training=training),
        run(stock, inputs, upstream, training=training),
        TOLERANCE[policy],
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_transposed_convolution_agrees_with_keras(policy: str) -> None:
    ours, stock = (
        kind(4, 3, strides=2, padding="same", dtype=dtype)
        for kind, dtype in ((Conv2DTranspose, policy), (keras.layers.Conv2DTranspose, "float32"))
    )
    inputs, upstream = noise(2, 6, 6, 5), noise(2, 12, 12, 4, seed=1)
    for layer in (ours, stock):
        layer.build(inputs.shape)
        layer.set_weights([noise(3, 3, 4, 5, seed=2), noise(4, seed=3)])
    assert_agree(run(ours, inputs, upstream), run(stock, inputs, upstream), TOLERANCE[policy])


def test_the_bias_gradient_of_many_pixels_is_right_in_bfloat16() -> None:
    layer = Conv2DTranspose(2, 3, strides=2, padding="same", dtype="mixed_bfloat16")
    inputs = np.zeros((4, 64, 64, 2), np.float32)
    upstream = np.ones((4, 128, 128, 2), np.float32)
    layer.build(inputs.shape)
    bias_gradient = run(layer, inputs, upstream)["gradient 1"]
    np.testing.assert_allclose(bias_gradient, 4 * 128 * 128, rtol=0.01)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("policy", POLICIES)
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float, policy: str) -> None:
    keras.utils.set_random_seed(0)
    outputs = tf.cast(Dropout(rate, dtype=policy)(tf.ones((7, 33, 31, 3)), training=True), tf.float32).numpy()
    kept = outputs > 0
    deviation = np.sqrt(rate * (1 - rate) / outputs.size)
    assert abs((1 - kept.mean()) - rate) < 5 * deviation + 1 / 512  # rates are multiples of 1/256
    assert len(np.unique(outputs)) == 2
    assert outputs[kept][0] == pytest.approx(1 / (1 - rate), rel=0.03)


def test_dropout_is_independent_between_elements_and_calls() -> None:
    keras.utils.set_random_seed(0)
    layer = Dropout(0.5)
    first, second = (layer(tf.ones((1, 64, 64, 16)), training=True).numpy().ravel() > 0 for _ in range(2))
    for lag in (1, 2, 8, 16, 64):
        assert abs(np.corrcoef(first[:-lag], first[lag:])[0, 1]) < 0.02
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("compiled", [True, False])
def test_dropout_passes_gradients_where_it_passes_values(policy: str, compiled: bool) -> None:
    layer, x = Dropout(0.5, dtype=policy), tf.ones((2, 9, 7, 3), "bfloat16" if "bfloat16" in policy else "float32")

    def values_and_gradients() -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
        return outputs, tape.gradient(outputs, x)

    outputs, gradients = (tf.function(values_and_gradients) if compiled else values_and_gradients)()
    np.testing.assert_array_equal(gradients, outputs)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_leaves_predictions_alone(rate: float) -> None:
    inputs = noise(2, 4, 4, 3)
    np.testing.assert_array_equal(Dropout(rate)(inputs, training=False), inputs)
    if rate == 0:
        np.testing.assert_array_equal(Dropout(rate)(inputs, training=True), inputs)
