"""Scores of predictions: of masks by the pixels that they share with the true ones, of labels by their probability.

Masks of classes have the scores of masks of 0 and 1 class by class, and of a pair the mean, or the worst, of the
classes that are in its true mask or in the predicted one; a pair without any class but the background scores 1.

Scores are computed in float64 from counts, so that the steps of the tiered IoU fall where the formula puts them,
whatever the precision and the device of the network. They lie between 0 and 1.1, the tiered IoU of equal masks.
"""

from collections.abc import Callable
from typing import NamedTuple, Self

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


class MaskFit(NamedTuple):
    """Counts that tell how predicted masks fit the true ones.

    Attributes
    ----------
    mask : PixelCounts
        Counts of the predicted mask, the pixels with a probability above 0.5.
    expected : ndarray of float64, shape (n,), optional
        The IoU that the probabilities lead to expect.
    soft : PixelCounts, optional
        Sums of the raw probabilities.
    spread : ndarray of float64, shape (n,), optional
        Standard deviation of the probabilities over the pixels of each pair; near 0 where a network predicts the same
        for every pixel.
    """

    mask: PixelCounts
    expected: np.ndarray | None = None
    soft: PixelCounts | None = None
    spread: np.ndarray | None = None

    def table(self) -> np.ndarray:
        """A row a pair: float64 of shape (n, 10)."""
        assert self.expected is not None
        assert self.soft is not None
        assert self.spread is not None
        return np.stack([*self.mask, self.expected, *self.soft, self.spread], axis=1)

    @classmethod
    def from_table(cls, table: np.ndarray) -> Self:
        """The fit that a `table` was made of."""
        columns = table.T
        return cls(PixelCounts(*columns[:4]), columns[4], PixelCounts(*columns[5:9]), columns[9])

    def closeness(self) -> np.ndarray:
        """The IoU; float64, shape (n,)."""
        return iou(self.mask)


class ClassFit(NamedTuple):
    """Pixels of each kind by pair and class, the background first: three arrays of float64, shape (n, classes).

    And `expected`, float64 of shape (n,): the mean IoU of the classes found, without the background, that the
    probabilities lead to expect.
    """

    true_positive: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray
    expected: np.ndarray | None = None

    def table(self) -> np.ndarray:
        """A row a pair: float64 of shape (n, 3 · classes + 1)."""
        assert self.expected is not None
        return np.concatenate([*self[:3], self.expected[:, None]], axis=1)

    @classmethod
    def from_table(cls, table: np.ndarray) -> Self:
        """The fit that a `table` was made of."""
        hit, false, missed = np.split(table[:, :-1], 3, axis=1)
        return cls(hit, false, missed, table[:, -1])

    def ious(self) -> np.ndarray:
        """The IoU of each class; float64, shape (n, classes), NaN where it is in neither mask."""
        return _overlap(self.true_positive, self.false_positive, self.false_negative)

    def closeness(self) -> np.ndarray:
        """The mean IoU without the background; float64, shape (n,)."""
        return mean_of_present(self.ious()[:, 1:])


class LabelFit(NamedTuple):
    """Probabilities of the true class and of the likeliest other one, in [0, 1]; float64, shape (n,) each.

    And `expected`, of the same kind: the probability of the true class that all probabilities lead to expect.
    """

    true: np.ndarray
    other: np.ndarray
    expected: np.ndarray | None = None

    def table(self) -> np.ndarray:
        """A row a pair: float64 of shape (n, 3)."""
        assert self.expected is not None
        return np.stack([self.true, self.other, self.expected], axis=1)

    @classmethod
    def from_table(cls, table: np.ndarray) -> Self:
        """The fit that a `table` was made of."""
        return cls(*table.T)

    def closeness(self) -> np.ndarray:
        """The probability of the true class; float64, shape (n,)."""
        return self.true


Fit = MaskFit | ClassFit | LabelFit


def shortfall(fit: Fit) -> np.ndarray:
    """How far predictions stay behind what they expect of themselves: float64, shape (n,), in [−1, 1].

    Large where a network is sure of something else than what is true, near 0 or negative where it is unsure: so a
    wrong mask is told from an image that is hard to predict.
    """
    assert fit.expected is not None
    return np.asarray(fit.expected - fit.closeness())


Score = Callable[[Fit], np.ndarray]
FITS: dict[str, type[MaskFit] | type[ClassFit] | type[LabelFit]] = {
    "masks": MaskFit,
    "classes": ClassFit,
    "labels": LabelFit,
}


def _overlap(hit: np.ndarray, false: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Intersection over union; NaN where there is neither."""
    union = hit + false + missed
    return np.where(union > 0, hit / np.where(union > 0, union, 1), np.nan)


def iou(counts: PixelCounts) -> np.ndarray:
    """Intersection over union; where the true mask is empty, 1 if the prediction is empty too, else 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1].
    """
    return _of_one_class(counts, np.asarray)


def tier(overlap: np.ndarray) -> np.ndarray:
    """The step of the tiered IoU that an IoU reaches: ``floor(max(0, (IoU − .45) · 20)) / 10``."""
    return np.asarray(np.floor(np.maximum(0, (overlap - 0.45) * 20)) / 10)


def tiered_iou(counts: PixelCounts) -> np.ndarray:
    """The article's ``my_iou_metric``: the IoU in steps of .1, from .1 above .5 up to 1.1 at a perfect 1.0.

    `tier` of the IoU; an empty true mask scores 1 if the prediction is empty, else 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        In {0, .1, …, 1.1}.
    """
    return _of_one_class(counts, tier)


def dice(counts: PixelCounts) -> np.ndarray:
    """Dice coefficient; where the true mask is empty, 1 if the prediction is empty too, else 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1].
    """
    return _of_one_class(counts, dice_of)


def _of_one_class(counts: PixelCounts, of_class: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A score of masks of 0 and 1, as of the only class beside the background."""
    hit, false, missed, _ = (np.asarray(count, dtype=np.float64) for count in counts)
    return mean_of_present(of_class(_overlap(hit, false, missed))[:, None])


def dice_of(overlap: np.ndarray) -> np.ndarray:
    """The Dice coefficient that goes with an IoU."""
    return np.asarray(2 * overlap / (1 + overlap))


def mean_of_present(values: np.ndarray) -> np.ndarray:
    """Mean over classes; 1 where none is present.

    Parameters
    ----------
    values : ndarray of float64, shape (n, classes)
        A value a class; NaN where it is not present.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    present = np.isfinite(values)
    count = present.sum(axis=1)
    return np.asarray(np.where(count == 0, 1, np.where(present, values, 0).sum(axis=1) / np.maximum(count, 1)))


def worst_of_present(values: np.ndarray) -> np.ndarray:
    """Least value of the classes, 1 where none is present; the arguments are those of `mean_of_present`."""
    least = np.where(np.isfinite(values), values, np.inf).min(axis=1)
    return np.asarray(np.where(np.isfinite(least), least, 1))


def hit_rate(fit: LabelFit) -> np.ndarray:
    """1 where the true class is the likeliest, else 0.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    return np.asarray(fit.true > fit.other, dtype=np.float64)


Overlap = Callable[[np.ndarray], np.ndarray]  # from the IoU of classes to their score
Join = Callable[[np.ndarray], np.ndarray]  # from the scores of classes to that of their pair

# What makes the scores of masks of 0 and 1, of classes, and of labels.
OF_MASKS: dict[str, Callable[[PixelCounts], np.ndarray]] = {"tiered_iou": tiered_iou, "iou": iou, "dice": dice}
OF_CLASSES: dict[str, tuple[Overlap, Join]] = {
    "tiered_iou": (tier, mean_of_present),
    "iou": (np.asarray, mean_of_present),
    "dice": (dice_of, mean_of_present),
    "worst_class_iou": (np.asarray, worst_of_present),
}
OF_LABELS: dict[str, Callable[[LabelFit], np.ndarray]] = {"hit_rate": hit_rate, "true_probability": LabelFit.closeness}


def score_of(name: str, background: bool = False) -> Score:
    """A score by its name.

    Parameters
    ----------
    name : str
        A key of `OF_MASKS`, `OF_CLASSES` or `OF_LABELS`.
    background : bool
        Whether the background counts as one of the classes.

    Returns
    -------
    callable
        From a fit of n pairs to float64 of shape (n,).
    """

    def score(fit: Fit) -> np.ndarray:
        if isinstance(fit, MaskFit):
            return OF_MASKS[name](fit.mask)
        if isinstance(fit, LabelFit):
            return OF_LABELS[name](fit)
        of_class, join = OF_CLASSES[name]
        return join(of_class(fit.ious()[:, 0 if background else 1 :]))

    return score
