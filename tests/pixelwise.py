"""A network that sees no more than the brightness of each pixel, so that what it predicts is known."""

from pathlib import Path

import keras
import numpy as np

STEEP = 2000.0  # so that all but middling brightness becomes 0 or 1


def network(size: int | None = 16, channels: int = 3, gain: float = STEEP) -> keras.Model:
    """From images of a size, or of any, to the probabilities that `probabilities` tells."""
    images = keras.Input((size, size, channels))
    layer = keras.layers.Conv2D(1, 1, activation="sigmoid", name="brightness")
    built = keras.Model(images, layer(images))
    layer.set_weights([np.full((1, 1, channels, 1), gain / channels, np.float32), np.full(1, -gain / 2, np.float32)])
    return built


def probabilities(image: np.ndarray, gain: float = STEEP) -> np.ndarray:
    """What it says of an image (h, w, c) with values in [0, 1]; float64, (h, w)."""
    return np.asarray(1 / (1 + np.exp(np.clip(gain * (0.5 - image.mean(axis=2, dtype=np.float64)), -500, 500))))


def save(built: keras.Model, path: Path = Path("models/core.keras")) -> None:
    """Write it where the core's network stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    built.save(path)
