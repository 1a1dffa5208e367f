"""Predict new images by the core's network: of any size, cut as the training images were, and joined again."""

import argparse
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stages.datasets.shared.decode import read_header
from stages.datasets.shared.find import NOT_READ, READ, LeftOut, examine, find_files
from stages.datasets.shared.image import Range, read_image, warn_of_scale
from stages.datasets.shared.tiles import Cut, crop, scale
from stages.learning.protocol import PREDICTION_BATCH
from stages.learning.tensorflow import set_up_tensorflow
from stages.pairs.layout import MASK_THRESHOLD
from stages.pairs.read import Pairs
from stages.pipeline import paths
from stages.pipeline.errors import UserError
from stages.pipeline.files import digest
from stages.pipeline.params.sections import DatasetParams

if TYPE_CHECKING:
    from stages.learning.predictor import Predictor

PATTERN = "**/*"


class Mapped(NamedTuple):
    """An image and its probabilities.

    Attributes
    ----------
    path : str
        Path of the image below its folder.
    image : ndarray of uint8 or float32, shape (h, w, c)
        Pixels as the core stores its own.
    probabilities : ndarray of float32, shape (h, w, 1 or classes)
        Probability of each pixel to belong to the mask, or to each class; where tiles overlap, their mean.
    """

    path: str
    image: np.ndarray
    probabilities: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The predicted mask: 0 and 1, or the likeliest class of each pixel; uint8, shape (h, w)."""
        one = self.probabilities.shape[2] == 1
        likeliest = self.probabilities[:, :, 0] > MASK_THRESHOLD if one else self.probabilities.argmax(axis=2)
        return np.asarray(likeliest, np.uint8)


class Mapper:
    """The core's network as it maps images to probabilities; it is loaded once an image comes, by each worker its own.

    Attributes
    ----------
    classes : list of PixelClass
        What it tells apart, the background first; empty where it predicts masks of 0 and 1.

    Raises
    ------
    UserError
        If there is no core, or its pairs have labels; at the first image also if its network is missing or of others.
    """

    def __init__(self) -> None:
        core = Pairs(paths.CORE)
        if core.layout.kind == "labels":
            raise UserError(f"{paths.CORE}: its pairs have labels; this command is for networks that predict masks")
        self._core, self._digest = core, digest(paths.CORE_MODEL) if paths.CORE_MODEL.exists() else ""
        self.layout, self.classes = core.layout, core.classes
        self.values = Range.of_core(core.attributes)
        self.cut = Cut.of(DatasetParams.model_construct(**core.attributes["core_of"]["parameters"]))

    def map(self, folder: Path, path: str) -> Mapped:
        """Read and predict an image by its path below a folder, as `find_images` finds it."""
        image = read_image(folder / path, self.layout.dtype, self.values)
        return Mapped(path, image, self.probabilities(image))

    @cached_property
    def _predictor(self) -> "Predictor":
        set_up_tensorflow()
        # These import TensorFlow, which takes seconds that bad input need not wait for.
        from stages.learning.predictor import Predictor
        from stages.learning.saving import load_network

        network = load_network(paths.CORE_MODEL)
        if digest(paths.CORE_MODEL) != self._digest:  # here, or before a worker of a cluster came to it
            raise UserError(f"{paths.CORE_MODEL}: changed since the command started; the same command begins anew")
        return Predictor(network, self._core)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Probabilities of each pixel of an image (h, w, c); float32, shape (h, w, 1 or classes)."""
        cut, (height, width) = self.cut, image.shape[:2]
        grid = cut.grid(height, width)
        if not len(grid):  # no reason to leave a new image out
            cut = cut._replace(whole=False, fit="pad")
            grid = cut.grid(height, width)
        scaled = scale(image, cut.scaled(height), cut.scaled(width))
        padded = scaled.shape[0] + cut.size, scaled.shape[1] + cut.size
        total = np.zeros((*padded, self.layout.prediction_shape[2]), np.float32)
        count = np.zeros((*padded, 1), np.float32)
        for start in range(0, len(grid), PREDICTION_BATCH):
            places = grid[start : start + PREDICTION_BATCH].tolist()
            tiles = np.stack([crop(scaled, top, left, cut.size) for top, left in places])
            for (top, left), found in zip(places, self._predictor.map(tiles), strict=True):
                part = slice(top, top + cut.size), slice(left, left + cut.size)
                total[part] += found
                count[part] += 1
        joined = (total / np.maximum(count, 1))[: scaled.shape[0], : scaled.shape[1]]
        return scale(joined, height, width)


def read_arguments(
    parser: argparse.ArgumentParser, target: str, words: Sequence[str] | None
) -> tuple[Path, Path, argparse.Namespace]:
    """Read the arguments of a command.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        With the options of the command; it gets two more arguments.
    target : str
        Name of the second one, the folder to make.
    words : sequence of str, optional
        The arguments; those of the process if not given.

    Returns
    -------
    folder, made : Path
        The folder of images, and the folder to make.
    arguments : argparse.Namespace
        The options, too.

    Raises
    ------
    UserError
        If the latter folder is there already.
    """
    parser.add_argument("folder", type=Path, help="images, in it and below it")
    parser.add_argument(target, type=Path, help="where to; must not be there yet")
    arguments = parser.parse_args(words)
    made: Path = getattr(arguments, target)
    if made.exists():
        raise UserError(f"{made}: is there already; name a folder that is to be made")
    return arguments.folder, made, arguments


def find_images(folder: Path, mapper: Mapper) -> list[str]:
    """Find the images in a folder and below it, and check their headers; a warning counts the files that are none.

    Parameters
    ----------
    folder : Path
        The folder.
    mapper : Mapper
        What is to map them; they have to be as the images that its network was trained on.

    Returns
    -------
    list of str
        Paths below the folder, sorted.

    Raises
    ------
    UserError
        If there are none, or one is broken, a stack, or has other channels or values.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = find_files(folder, PATTERN)
    if not found.images:
        raise UserError(f"{folder}: no images, looked for {READ}")
    files = [folder / path for path in found.images]
    headers = examine(lambda place: read_header(files[place]), len(files))
    channels = mapper.layout.image_shape[2]
    for path, header in zip(files, headers, strict=True):
        if header.channels != channels:
            raise UserError(f"{path}: {header.channels} channels, the network was trained with {channels}")
        if header.pages > 1:
            raise UserError(f"{path}: {header.pages} pages, allowed is an image a file")
        if header.bits > 16 and not mapper.values.given:
            raise UserError(f"{path}: values of {header.bits} bits, the network was trained with those of 8 or 16")
    left_out = LeftOut(folder, strict=False)
    left_out.skip(found.hidden, "a hidden file")
    left_out.skip(found.others, NOT_READ)
    if not mapper.values.given:
        warn_of_scale(files, headers, mapper.values.deep)
    return found.images
