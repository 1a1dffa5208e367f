"""Augmentation: pairs are turned and mirrored in training, so that few of them teach what their mirror images would."""

from typing import Literal

import numpy as np

from stages.pairs.layout import Block

Augmentation = Literal["none", "flips", "dihedral"]

STREAM = 1  # tells these draws from others that are keyed by the seed and a step


def augment(block: Block, kind: Augmentation, seed: int, step: int, as_stored: int = 0) -> Block:
    """Turn and mirror the pairs of a batch at random; an image and its mask alike.

    Parameters
    ----------
    block : Block
        Images (n, h, w, c) and masks (n, h, w, 1).
    kind : {"none", "flips", "dihedral"}
        ``flips`` mirrors up-down, left-right, both or neither, with equal odds; ``dihedral`` draws one of the eight
        symmetries of the square, for square pairs.
    seed, step : int
        What is drawn depends on these and on the places of the pairs in the batch.
    as_stored : int
        Pairs at the beginning of the batch that stay as they are.

    Returns
    -------
    Block
        A batch of the same shapes and dtypes.
    """
    if kind == "none":
        return block
    draws = np.random.default_rng((seed, step, STREAM)).integers(2, size=(len(block.images), 3))
    draws[:as_stored] = 0
    return Block(*(np.stack([_moved(*pair, kind) for pair in zip(part, draws, strict=True)]) for part in block))


def _moved(image: np.ndarray, draw: np.ndarray, kind: Augmentation) -> np.ndarray:
    upside_down, left_right, transposed = draw.astype(bool)
    image = image[::-1] if upside_down else image
    image = image[:, ::-1] if left_right else image
    return image.swapaxes(0, 1) if transposed and kind == "dihedral" else image
