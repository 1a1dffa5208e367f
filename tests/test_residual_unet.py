"""The article's network: its parameters layer by layer, and the same outputs as from Keras' own layers."""

import keras
import numpy as np
import pytest

from stages.networks.shared.build import build_network
from stages.networks.shared.layers import Dropout
from stages.pairs.layout import Layout
from tests.project import network_options
from tests.stock import stock_network


def network(size: int = 128, filters: int = 16, policy: str = "float32") -> keras.Model:
    layout = Layout(1, (size, size, 3), "uint8")
    return build_network(network_options("residual_unet", base_filters=filters), layout, policy, seed=1)


def convolution(kernel: int, inputs: int, outputs: int) -> int:
    return kernel * kernel * inputs * outputs + outputs


def level(inputs: int, filters: int) -> list[int]:
    block = [4 * filters, convolution(3, filters, filters), 4 * filters, convolution(3, filters, filters), 4 * filters]
    return [convolution(3, inputs, filters), *block, *block]


def test_parameters_layer_by_layer() -> None:
    expected = [*level(3, 16), *level(16, 32), *level(32, 64), *level(64, 128), *level(128, 256)]
    for filters in (128, 64, 32, 16):
        expected += [convolution(3, 2 * filters, filters), *level(2 * filters, filters)]
    expected += [convolution(1, 16, 1)]
    built = network()
    assert [layer.count_params() for layer in built.layers if layer.count_params()] == expected
    assert built.count_params() == sum(expected) == 5_123_089


def test_dropout_has_half_its_rate_after_the_first_pooling_and_before_the_output() -> None:
    rates = [layer.rate for layer in network(32, 4).layers if isinstance(layer, Dropout)]
    assert rates == [0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_it_predicts_what_keras_own_layers_predict() -> None:
    keras.config.set_dtype_policy("float32")
    ours, stock = network(32, 4), stock_network(32, 4)
    assert [weight.shape for weight in ours.weights] == [weight.shape for weight in stock.weights]
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 1.5, weight.shape) * (weight.numpy() + 0.05) for weight in stock.weights]
    ours.set_weights(weights)
    stock.set_weights(weights)
    images = rng.random((3, 32, 32, 3), dtype=np.float32)
    np.testing.assert_allclose(ours(images, training=False), stock(images, training=False), atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_weights_and_probabilities_are_float32_in_every_policy(policy: str) -> None:
    built = network(32, 4, policy)
    assert {str(weight.dtype) for weight in built.weights} == {"float32"}
    probabilities = built(np.zeros((2, 32, 32, 3), np.float32))
    assert probabilities.dtype == "float32"
    assert probabilities.shape == (2, 32, 32, 1)


def test_a_seed_gives_the_same_weights_again() -> None:
    first, second = network(32, 4).get_weights(), network(32, 4).get_weights()
    assert all(np.array_equal(old, new) for old, new in zip(first, second, strict=True))
