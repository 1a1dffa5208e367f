"""TensorBoard: what a stage shows there while it runs.

TensorFlow no longer brings TensorBoard, and `tf.summary` does not write without it: the operations below it do.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from stages.pairs.layout import Block
from stages.pipeline.errors import UserError

FOLDER = "TRAINCORE_TENSORBOARD"


class Board:
    """A stage's folder of events below ``TRAINCORE_TENSORBOARD``; nothing is done where that is not set.

    Parameters
    ----------
    stage : str
        Name of the stage.

    Raises
    ------
    UserError
        If the folder cannot be written.
    """

    def __init__(self, stage: str) -> None:
        folder = os.environ.get(FOLDER)
        self._writer = None
        if folder:
            try:
                Path(folder, stage).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{FOLDER} is {folder!r}: {error.strerror}") from None
            self._writer = tf.raw_ops.SummaryWriter(shared_name=f"{folder}/{stage}", container="")
            tf.raw_ops.CreateSummaryFileWriter(
                writer=self._writer,
                logdir=f"{folder}/{stage}",
                max_queue=20,
                flush_millis=5000,
                filename_suffix="",
            )

    @property
    def is_on(self) -> bool:
        """Whether anybody wants to watch."""
        return self._writer is not None

    def show(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Add a point to the curve of each figure that is known."""
        for name, value in figures.items():
            if self.is_on and value is not None:
                tf.raw_ops.WriteScalarSummary(writer=self._writer, step=step, tag=name, value=float(value))

    def show_pairs(self, first: int, block: Block) -> None:
        """Add pictures of pairs, an image and its mask side by side, at the steps from ``first`` on."""
        if not self.is_on:
            return
        scale = 255 if block.images.dtype == np.uint8 else 1
        for step, (image, target) in enumerate(zip(block.images, block.targets, strict=True), first):
            brightest = max(1, target.max(initial=1))  # of a class, or of ignored pixels
            views = [image, (target / brightest * scale).astype(image.dtype)] if target.ndim == 3 else [image]
            picture = np.concatenate([_as_rgb(view) for view in views], axis=1) * (255 // scale)
            tf.raw_ops.WriteImageSummary(
                writer=self._writer,
                step=step,
                tag="pairs of the core",
                tensor=picture[None].astype(np.uint8),
                bad_color=np.zeros(4, np.uint8),
            )

    def flush(self) -> None:
        """Write what was shown so far; it happens by itself every few seconds."""
        if self.is_on:
            tf.raw_ops.FlushSummaryWriter(writer=self._writer)


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """Three channels: those of a color image, or the first one of any other."""
    return image if image.shape[2] == 3 else np.repeat(image[:, :, :1], 3, axis=2)
