"""Network ``tiny`` of the small project: it is built, traced and trained in a moment."""

import keras
from keras import layers

from stages.networks.shared.layers import BatchNormalization, Conv2DTranspose, Dropout
from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """Two levels of what the default network is made of."""
    images = keras.Input(layout.image_shape)
    fine = layers.Conv2D(8, 3, padding="same", activation="relu")(images)
    x = layers.MaxPooling2D(2)(fine)
    x = Dropout(0.1)(x)
    x = layers.Conv2D(16, 3, padding="same")(x)
    x = BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = Conv2DTranspose(8, 3, strides=2, padding="same")(x)
    x = layers.Concatenate()([x, fine])
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    probabilities = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32")(x)
    return keras.Model(images, probabilities, name="tiny")
