"""What the core's network says of new images: of any size, cut as the training images were, and joined again."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages import hardware
from stages.datasets import images
from stages.datasets.tiles import Cut, crop, scale
from stages.errors import UserError
from stages.params import DatasetParams
from stages.store import Pairs

MODEL = Path("models/core.keras")
CORE = Path("data/core.zarr")
BATCH = 50
PATTERN = "**/*"


class Mapped(NamedTuple):
    """An image and what the network says of it.

    Attributes
    ----------
    path : str
        Below the folder.
    image : ndarray of uint8 or float32, shape (h, w, c)
    probabilities : ndarray of float32, shape (h, w)
        Of each pixel to belong to the mask; where tiles overlap, their mean.
    """

    path: str
    image: np.ndarray
    probabilities: np.ndarray


class Mapper:
    """The core's network as it maps images to probabilities.

    Raises
    ------
    UserError
        If there is no core with a network, one of them does not fit the other, or they are of labels.
    """

    def __init__(self) -> None:
        core = Pairs(CORE)
        if core.layout.classes is not None:
            raise UserError(f"{CORE}: its pairs have labels; this command is for networks that predict masks")
        hardware.set_up_tensorflow()
        import tensorflow as tf  # takes seconds that bad input need not wait for

        from stages import networks

        network = networks.load(MODEL)
        found, expected = network.input_shape[1:], core.layout.image_shape
        if found != expected or network.output_shape[1:] != core.layout.target_shape:
            raise UserError(f"{MODEL}: takes {found} to {network.output_shape[1:]}, images in {CORE} are {expected}")
        self.layout = core.layout
        made = core.attributes["core_of"]["parameters"]
        self.cut = Cut.of(DatasetParams.model_construct(**made))
        signature = [tf.TensorSpec((None, *core.layout.image_shape), core.layout.dtype)]
        self._predict = tf.function(
            lambda tiles: network(tf.cast(tiles, tf.float32) / core.layout.scale, training=False)[..., 0],
            input_signature=signature,
            autograph=False,
        )

    def map(self, folder: Path, paths: list[str]) -> Iterator[Mapped]:
        """The images one after the other; takes what `find_images` finds."""
        for path in paths:
            image = images.read_image(folder / path, self.layout.dtype)
            yield Mapped(path, image, self.probabilities(image))

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Of each pixel of an image (h, w, c) to belong to the mask; float32, shape (h, w)."""
        cut, (height, width) = self.cut, image.shape[:2]
        grid = cut.grid(height, width)
        if not len(grid):  # no reason to leave a new image out
            cut = cut._replace(whole=False, fit="pad")
            grid = cut.grid(height, width)
        scaled = scale(image, cut.scaled(height), cut.scaled(width))
        total = np.zeros((scaled.shape[0] + cut.size, scaled.shape[1] + cut.size), np.float32)
        count = np.zeros_like(total)
        for start in range(0, len(grid), BATCH):
            places = grid[start : start + BATCH].tolist()
            tiles = np.stack([crop(scaled, top, left, cut.size) for top, left in places])
            for (top, left), found in zip(places, self._predict(tiles).numpy(), strict=True):
                part = slice(top, top + cut.size), slice(left, left + cut.size)
                total[part] += found
                count[part] += 1
        joined = (total / np.maximum(count, 1))[: scaled.shape[0], : scaled.shape[1], None]
        return scale(joined, height, width)[:, :, 0]


def read_arguments(command: str, description: str, target: str, words: Sequence[str] | None) -> tuple[Path, Path]:
    """The folder of images that a command is given, and what it is to make, which goes by the name ``target``.

    Raises
    ------
    UserError
        If that is there already.
    """
    parser = argparse.ArgumentParser(prog=command, description=description)
    parser.add_argument("folder", type=Path, help="images, in it and below it")
    parser.add_argument(target, type=Path, help="where to; must not be there yet")
    folder, made = vars(parser.parse_args(words)).values()
    if made.exists():
        raise UserError(f"{made}: is there already; name a folder that is to be made")
    return folder, made


def find_images(folder: Path, channels: int) -> list[str]:
    """The images in a folder and below it, after a look at their heads.

    Raises
    ------
    UserError
        If there are none, or one is broken or has another number of channels.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    paths = images.find(folder, PATTERN)
    if not paths:
        raise UserError(f"{folder}: no images, looked for {', '.join(sorted(images.ENDINGS))}")
    headers = images.look_at(lambda place: images.read_header(folder / paths[place]), len(paths))
    for path, header in zip(paths, headers, strict=True):
        if header.channels != channels:
            raise UserError(f"{folder / path}: {header.channels} channels, the network was trained with {channels}")
    return paths
