"""How well a prediction fits, from the pixels that a predicted and a true mask share.

Scores are computed in float64 from counts, so that the steps of the tiered IoU fall where the formula puts them,
whatever the precision and the device of the network.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class PixelCounts(NamedTuple):
    """Pixels of each kind, a value a pair: four arrays of shape (n,).

    Counts of a mask are whole numbers. Those of raw probabilities (the article's last test) are sums: a pixel that
    is predicted with .8 counts .8 as predicted and .2 as not.
    """

    true_positive: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray
    true_negative: np.ndarray


class Fit(NamedTuple):
    """How predictions of some pairs fit: pixel counts of the mask ``> 0.5`` and of the raw probabilities."""

    mask: PixelCounts
    soft: PixelCounts


Score = Callable[[PixelCounts], np.ndarray]


def iou(counts: PixelCounts) -> np.ndarray:
    """Intersection over union; where the true mask is empty, 1 if the prediction is empty too, else 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1].
    """
    hit, false, missed, _ = (np.asarray(count, dtype=np.float64) for count in counts)
    union = hit + false + missed
    empty = hit + missed == 0
    return np.where(empty, false == 0, hit / np.where(union == 0, 1, union))


def tiered_iou(counts: PixelCounts) -> np.ndarray:
    """The article's ``my_iou_metric``: the IoU in steps of .1, from .1 above .5 up to 1.1 at a perfect 1.0.

    ``floor(max(0, (IoU − .45) · 20)) / 10``; an empty true mask scores 1 if the prediction is empty, else 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        In {0, .1, …, 1.1}.
    """
    tiers = np.floor(np.maximum(0, (iou(counts) - 0.45) * 20)) / 10
    empty = np.asarray(counts.true_positive) + counts.false_negative == 0
    return np.where(empty, np.asarray(counts.false_positive) == 0, tiers)


def dice(counts: PixelCounts) -> np.ndarray:
    """Dice coefficient; where the true mask is empty, 1 if the prediction is empty too, else 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1].
    """
    overlap = iou(counts)
    return np.asarray(2 * overlap / (1 + overlap))


SCORES: dict[str, Score] = {"tiered_iou": tiered_iou, "iou": iou, "dice": dice}
