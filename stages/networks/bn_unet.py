"""The U-Net of the question: batch normalisation after every ReLU but those of the up-convolutions."""

import keras
from keras import layers

from stages.networks.shared.layers import convolve, probabilities
from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams

DEPTH = 4  # times that the image is halved
SKIP_DROPOUT = 0.4  # of the full rate: .2 where that is .5


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """The U-Net; 1,947,277 parameters for 3 channels and 16 base filters.

    The three upper skips leave before the normalisation, the lowest one after its dropout. Dropout has its full rate at
    the bottom, and two fifths of it there and before the output. Without ``batch_normalization`` its layers are left
    out; ``head_filters`` is the width of the last ReLU layer, and 0 leaves that layer out.
    """
    filters, rate = options.base_filters, options.dropout
    assert filters is not None  # nulls are replaced
    assert rate is not None
    images = keras.Input(layout.image_shape)

    x = images
    skips = []
    for level in range(DEPTH):
        x = _normalize(convolve(x, filters * 2**level, 3, options), options)
        skip = convolve(x, filters * 2**level, 3, options)
        x = _normalize(skip, options)
        if level == DEPTH - 1:
            skip = x = layers.Dropout(rate * SKIP_DROPOUT)(x)
        skips.append(skip)
        x = layers.MaxPooling2D(2)(x)

    x = _normalize(convolve(x, filters * 2**DEPTH, 3, options), options)
    x = _normalize(convolve(x, filters * 2**DEPTH, 3, options), options)
    x = layers.Dropout(rate)(x)

    for level in reversed(range(DEPTH)):
        x = layers.UpSampling2D(2)(x)
        x = convolve(x, filters * 2**level, 2, options)
        x = layers.Concatenate()([skips[level], x])
        x = _normalize(convolve(x, filters * 2**level, 3, options), options)
        x = _normalize(convolve(x, filters * 2**level, 3, options), options)

    if options.head_filters:
        x = _normalize(convolve(x, options.head_filters, 3, options), options)
    x = layers.Dropout(rate * SKIP_DROPOUT)(x)
    return keras.Model(images, probabilities(x, layout), name="bn_unet")


def _normalize(x: keras.KerasTensor, options: NetworkParams) -> keras.KerasTensor:
    return layers.BatchNormalization(momentum=options.momentum)(x) if options.batch_normalization else x
