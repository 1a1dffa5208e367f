"""The lesson's second network: two convolutions, each halved by pooling, then the layers of the first."""

import keras
from keras import layers

from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """The convolutional network; 421,642 parameters for Fashion-MNIST and 32 base filters."""
    filters = options.base_filters
    assert filters is not None  # nulls are replaced
    images = keras.Input(layout.image_shape)
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(images)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(filters * 2, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    probabilities = layers.Dense(layout.classes, activation="softmax", dtype="float32")(x)
    return keras.Model(images, probabilities, name="cnn")
