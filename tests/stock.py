"""The article's network from Keras' own layers, to compare with: the same layers in the same order."""

import keras
from keras import layers


def stock_network(size: int = 128, filters: int = 16, dropout: float = 0.5) -> keras.Model:
    """Build the residual U-Net; weights in the order of the project's own."""
    images = keras.Input((size, size, 3))
    down = []
    x = images
    for step in range(4):
        x = _level(x, filters << step)
        down.append(x)
        x = layers.Dropout(dropout / (2 if step == 0 else 1))(layers.MaxPooling2D()(x))
    x = _level(x, filters << 4)
    for step in (3, 2, 1, 0):
        x = layers.Conv2DTranspose(filters << step, 3, strides=2, padding="same")(x)
        x = layers.Dropout(dropout)(layers.concatenate([x, down[step]]))
        x = _level(x, filters << step)
    x = layers.Dropout(dropout / 2)(x)
    return keras.Model(images, layers.Conv2D(1, 1, activation="sigmoid", dtype="float32")(x))


def _level(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, padding="same")(x)
    for _ in range(2):
        block = layers.BatchNormalization()(layers.Activation("relu")(x))
        block = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same")(block))
        block = layers.Conv2D(filters, 3, padding="same")(layers.Activation("relu")(block))
        x = layers.Add()([layers.BatchNormalization()(block), x])
    return layers.Activation("relu")(x)
