"""Network ``tiny``: few layers, of each kind that the project has, for tests that train; its graphs take a second."""

import keras
from keras import layers

from stages.networks.shared.layers import BatchNormalization, Conv2DTranspose, Dropout
from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """Two levels of a U-Net, from images of any layout of masks to probabilities."""
    filters = options.base_filters
    assert filters is not None
    images = keras.Input(layout.image_shape)
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(images)
    fine = BatchNormalization(momentum=0.9)(x)
    x = layers.MaxPooling2D(2)(fine)
    x = Dropout(0.1)(x)
    x = layers.Conv2D(2 * filters, 3, padding="same", activation="relu")(x)
    x = BatchNormalization(momentum=0.9)(x)
    x = layers.Conv2D(2 * filters, 3, padding="same", activation="relu")(x)
    x = Conv2DTranspose(filters, 3, strides=2, padding="same")(x)
    x = layers.Concatenate()([x, fine])
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    probabilities = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32")(x)
    return keras.Model(images, probabilities, name="tiny")
