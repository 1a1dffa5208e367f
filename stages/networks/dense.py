"""The lesson's first network: one hidden layer between the pixels and the classes."""

import keras
from keras import layers

from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams


def build(options: NetworkParams, layout: Layout) -> keras.Model:
    """The dense network; 101,770 parameters for Fashion-MNIST."""
    images = keras.Input(layout.image_shape)
    x = layers.Flatten()(images)
    x = layers.Dense(128, activation="relu")(x)
    probabilities = layers.Dense(layout.classes, activation="softmax", dtype="float32")(x)
    return keras.Model(images, probabilities, name="dense")
