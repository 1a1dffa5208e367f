"""A network of few layers, of each kind that the project has, for tests that train one: its graphs take a second."""

import keras

from stages.networks.shared.layers import BatchNormalization, Conv2DTranspose, Dropout
from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """From images of any layout of masks to probabilities."""
    assert options.base_filters is not None
    images = keras.Input(layout.image_shape)
    x = keras.layers.Conv2D(options.base_filters, 3, padding="same", activation="relu")(images)
    x = BatchNormalization()(x)
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Conv2D(2 * options.base_filters, 3, padding="same", activation="relu")(x)
    x = Dropout(0.25)(BatchNormalization()(x))
    x = Conv2DTranspose(options.base_filters, 3, strides=2, padding="same")(x)
    return keras.Model(images, keras.layers.Conv2D(1, 1, activation="sigmoid", dtype="float32")(x), name="tiny")
