"""The U-Net that inspired the question's (github.com/zhixuhao/unet): no normalisation, dropout where it is deepest."""

import keras
from keras import layers

from stages.networks.shared.layers import convolve, probabilities
from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams

DEPTH = 4  # times that the image is halved


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """The U-Net; 31,031,685 parameters for 1 channel, 31,032,837 for 3, both with 64 base filters.

    ``head_filters`` is the width of the last ReLU layer, 2 in the original; 0 leaves that layer out.
    """
    filters, rate = options.base_filters, options.dropout
    assert filters is not None  # nulls are replaced
    assert rate is not None
    images = keras.Input(layout.image_shape)

    x = images
    skips = []
    for level in range(DEPTH + 1):
        x = convolve(x, filters * 2**level, 3, options)
        x = convolve(x, filters * 2**level, 3, options)
        if level >= DEPTH - 1:
            x = layers.Dropout(rate)(x)
        if level < DEPTH:
            skips.append(x)
            x = layers.MaxPooling2D(2)(x)

    for level in reversed(range(DEPTH)):
        x = layers.UpSampling2D(2)(x)
        x = convolve(x, filters * 2**level, 2, options)
        x = layers.Concatenate()([skips[level], x])
        x = convolve(x, filters * 2**level, 3, options)
        x = convolve(x, filters * 2**level, 3, options)

    if options.head_filters:
        x = convolve(x, options.head_filters, 3, options)
    return keras.Model(images, probabilities(x, layout), name="plain_unet")
