"""The networks of the question and of the lesson: layer for layer as there."""

from typing import Any

import keras
import numpy as np
import pytest

from stages.networks.shared.build import build_network
from stages.networks.shared.layers import BatchNormalization, Dropout
from stages.pairs.layout import Layout
from tests.project import network_options

# The question's table of layers: kind, height and width, channels, parameters.
QUESTION = """
InputLayer 256 3 0
Conv2D 256 16 448
BatchNormalization 256 16 64
Conv2D 256 16 2320
BatchNormalization 256 16 64
MaxPooling2D 128 16 0
Conv2D 128 32 4640
BatchNormalization 128 32 128
Conv2D 128 32 9248
BatchNormalization 128 32 128
MaxPooling2D 64 32 0
Conv2D 64 64 18496
BatchNormalization 64 64 256
Conv2D 64 64 36928
BatchNormalization 64 64 256
MaxPooling2D 32 64 0
Conv2D 32 128 73856
BatchNormalization 32 128 512
Conv2D 32 128 147584
BatchNormalization 32 128 512
Dropout 32 128 0
MaxPooling2D 16 128 0
Conv2D 16 256 295168
BatchNormalization 16 256 1024
Conv2D 16 256 590080
BatchNormalization 16 256 1024
Dropout 16 256 0
UpSampling2D 32 256 0
Conv2D 32 128 131200
Concatenate 32 256 0
Conv2D 32 128 295040
BatchNormalization 32 128 512
Conv2D 32 128 147584
BatchNormalization 32 128 512
UpSampling2D 64 128 0
Conv2D 64 64 32832
Concatenate 64 128 0
Conv2D 64 64 73792
BatchNormalization 64 64 256
Conv2D 64 64 36928
BatchNormalization 64 64 256
UpSampling2D 128 64 0
Conv2D 128 32 8224
Concatenate 128 64 0
Conv2D 128 32 18464
BatchNormalization 128 32 128
Conv2D 128 32 9248
BatchNormalization 128 32 128
UpSampling2D 256 32 0
Conv2D 256 16 2064
Concatenate 256 32 0
Conv2D 256 16 4624
BatchNormalization 256 16 64
Conv2D 256 16 2320
BatchNormalization 256 16 64
Conv2D 256 2 290
BatchNormalization 256 2 8
Dropout 256 2 0
Conv2D 256 1 3
"""

MASKS = Layout(1, (32, 32, 3), "uint8")
FASHION = Layout(1, (28, 28, 1), "uint8", classes=10)


def build(name: str, layout: Layout, policy: str = "float32", **options: Any) -> keras.Model:
    return build_network(network_options(name, **options), layout, policy, seed=1)


def kinds(network: keras.Model, kind: type[keras.layers.Layer]) -> list[keras.layers.Layer]:
    return [layer for layer in network.layers if isinstance(layer, kind)]


def sources(layer: keras.layers.Layer) -> list[str]:
    """Names of the kinds of layers that a layer takes its inputs from."""
    (node,) = layer._inbound_nodes
    return [type(tensor._keras_history.operation).__name__ for tensor in node.input_tensors]


def test_the_network_of_the_question_layer_by_layer() -> None:
    built = build("bn_unet", Layout(1, (256, 256, 3), "uint8"))
    found = [
        f"{type(layer).__name__} {layer.output.shape[1]} {layer.output.shape[3]} {layer.count_params()}"
        for layer in built.layers
    ]
    assert sorted(found) == sorted(QUESTION.split("\n")[1:-1])  # Keras lists layers of a level in another order
    assert found[:27] == QUESTION.split("\n")[1:28]
    assert built.count_params() == 1_947_277


def test_where_the_skips_of_the_question_leave_and_what_it_drops() -> None:
    built = build("bn_unet", MASKS)
    skips = [sources(layer) for layer in kinds(built, keras.layers.Concatenate)]
    assert skips == [["Dropout", "Conv2D"], *[["Conv2D", "Conv2D"]] * 3]
    np.testing.assert_allclose([layer.rate for layer in kinds(built, Dropout)], [0.2, 0.5, 0.2])
    after = [sources(layer) for layer in kinds(built, BatchNormalization)]
    assert after == [["Conv2D"]] * 19
    assert {layer.activation.__name__ for layer in kinds(built, keras.layers.Conv2D)[:-1]} == {"relu"}


def test_what_the_study_of_the_question_changes() -> None:
    plain = build("bn_unet", MASKS, batch_normalization=False)
    assert kinds(plain, BatchNormalization) == []
    assert len(kinds(plain, keras.layers.Conv2D)) == 24
    headless = build("bn_unet", MASKS, head_filters=0)
    assert [layer.filters for layer in kinds(headless, keras.layers.Conv2D)][-2:] == [16, 1]
    momenta = {layer.momentum for layer in kinds(build("bn_unet", MASKS, momentum=0.9), BatchNormalization)}
    assert momenta == {0.9}
    initial = {
        type(layer.kernel_initializer).__name__
        for layer in kinds(build("bn_unet", MASKS, initializer="he_normal"), keras.layers.Conv2D)[:-1]
    }
    assert initial == {"HeNormal"}


def test_the_network_that_inspired_the_question() -> None:
    built = build("plain_unet", Layout(1, (256, 256, 1), "uint8"))
    assert built.count_params() == 31_031_685
    widths = [layer.filters for layer in kinds(built, keras.layers.Conv2D)]
    down = [width for width in (64, 128, 256, 512, 1024) for _ in range(2)]
    up = [width for width in (512, 256, 128, 64) for _ in range(3)]
    assert widths == [*down, *up, 2, 1]
    assert kinds(built, BatchNormalization) == []
    drops = kinds(built, Dropout)
    assert [(layer.rate, layer.output.shape[1:]) for layer in drops] == [(0.5, (32, 32, 512)), (0.5, (16, 16, 1024))]
    assert [layer.filters for layer in kinds(build("plain_unet", MASKS, base_filters=8), keras.layers.Conv2D)][:3] == [
        8,
        8,
        16,
    ]


@pytest.mark.parametrize("name", ["bn_unet", "plain_unet"])
@pytest.mark.parametrize("size", [16, 48])
def test_a_u_net_takes_any_size_that_is_a_multiple_of_16(name: str, size: int) -> None:
    built = build(name, Layout(1, (size, size, 3), "uint8"), "mixed_bfloat16", base_filters=2)
    probabilities = built(np.zeros((2, size, size, 3), np.float32))
    assert (probabilities.shape, probabilities.dtype) == ((2, size, size, 1), "float32")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("dense", [100_480, 1290]), ("cnn", [320, 18_496, 401_536, 1290])],
)
def test_the_networks_of_the_lesson_layer_by_layer(name: str, parameters: list[int]) -> None:
    built = build(name, FASHION)
    assert [layer.count_params() for layer in built.layers if layer.count_params()] == parameters
    probabilities = built(np.zeros((3, 28, 28, 1), np.float32)).numpy()
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_the_convolutions_of_the_lesson_keep_the_size_and_poolings_halve_it() -> None:
    shapes = [layer.output.shape[1:] for layer in build("cnn", FASHION).layers]
    assert shapes[1:6] == [(28, 28, 32), (14, 14, 32), (14, 14, 64), (7, 7, 64), (7 * 7 * 64,)]
