"""The article's network: a U-Net whose levels are residual blocks."""

import keras
from keras import layers

from stages.networks.shared.layers import probabilities
from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams

DEPTH = 4  # times that the image is halved


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """The residual U-Net; 5,123,089 parameters for 3 channels and 16 base filters.

    Dropout has half its rate after the first pooling and before the output, its full rate everywhere else.
    """
    filters, rate, momentum = options.base_filters, options.dropout, options.momentum
    assert filters is not None  # nulls are replaced
    assert rate is not None
    assert momentum is not None
    images = keras.Input(layout.image_shape)

    x = images
    skips = []
    for level in range(DEPTH):
        x = _residual_level(x, filters * 2**level, momentum)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(rate / 2 if level == 0 else rate)(x)

    x = _residual_level(x, filters * 2**DEPTH, momentum)

    for level in reversed(range(DEPTH)):
        x = layers.Conv2DTranspose(filters * 2**level, 3, strides=2, padding="same")(x)
        x = layers.Concatenate()([x, skips[level]])
        x = layers.Dropout(rate)(x)
        x = _residual_level(x, filters * 2**level, momentum)

    x = layers.Dropout(rate / 2)(x)
    return keras.Model(images, probabilities(x, layout), name="residual_unet")


def _residual_level(x: keras.KerasTensor, filters: int, momentum: float) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, padding="same")(x)
    x = _residual_block(x, filters, momentum)
    x = _residual_block(x, filters, momentum)
    return layers.ReLU()(x)


def _residual_block(x: keras.KerasTensor, filters: int, momentum: float) -> keras.KerasTensor:
    y = layers.ReLU()(x)
    y = layers.BatchNormalization(momentum=momentum)(y)
    y = layers.Conv2D(filters, 3, padding="same")(y)
    y = layers.BatchNormalization(momentum=momentum)(y)
    y = layers.ReLU()(y)
    y = layers.Conv2D(filters, 3, padding="same")(y)
    y = layers.BatchNormalization(momentum=momentum)(y)
    return layers.Add()([y, x])
