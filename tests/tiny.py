"""Network ``tiny``: few layers, of each kind that the project has, for tests that train; its graphs take a second."""

import keras
from keras import layers

from stages.networks.shared.layers import probabilities
from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """Two levels of a U-Net, from images of any layout of masks to probabilities."""
    filters = options.base_filters
    assert filters is not None
    images = keras.Input(layout.image_shape)
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(images)
    fine = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.MaxPooling2D(2)(fine)
    x = layers.Dropout(0.1)(x)
    x = layers.Conv2D(2 * filters, 3, padding="same", activation="relu")(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.Conv2D(2 * filters, 3, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x)
    x = layers.Concatenate()([x, fine])
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return keras.Model(images, probabilities(x, layout), name="tiny")
