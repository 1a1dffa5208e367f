"""Figures of evaluated pairs, as they stand in ``metrics/evaluate.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.learning.scores import (
    OF_CLASSES,
    ClassFit,
    Fit,
    LabelFit,
    MaskFit,
    dice,
    dice_of,
    hit_rate,
    iou,
    score_of,
    tiered_iou,
)
from stages.pairs.layout import PixelClass

BINS = np.round(np.arange(0, 1.2, 0.1), 1)  # the steps of the tiered IoU; scores of other kinds fall between


def summarize(fit: Fit, scores: np.ndarray, bar: float, background: bool = False) -> dict[str, Any]:
    """The figures of one kind of pairs.

    Parameters
    ----------
    fit : Fit
        Of its pairs.
    scores : ndarray of float64, shape (n,)
        What the walk goes by; the same as ``tiered_iou`` or ``hit_rate`` where that is the score.
    bar : float
        Below it a pair fails.
    background : bool
        Whether the background counts as one of several classes.

    Returns
    -------
    dict
        ``pairs`` alone where there are none.
    """
    if not len(scores):
        return {"pairs": 0}
    return {
        "pairs": len(scores),
        "score": float(scores.mean()),
        "min_score": float(scores.min()),
        "below_bar": int((scores < bar).sum()),
        **_of_fit(fit, scores, bar, background),
    }


def _of_fit(fit: Fit, scores: np.ndarray, bar: float, background: bool) -> dict[str, Any]:
    if isinstance(fit, LabelFit):
        return _of_labels(fit)
    if isinstance(fit, ClassFit):
        return _of_classes(fit, scores, bar, background)
    return _of_masks(fit, scores, bar)


def _of_masks(fit: MaskFit, scores: np.ndarray, bar: float) -> dict[str, Any]:
    assert fit.soft is not None  # of whole sets all is computed
    assert fit.spread is not None
    overlap = iou(fit.mask)
    hit, false, missed, right = (int(count.sum()) for count in fit.mask)
    return {
        **_of_filled(fit.mask.true_positive + fit.mask.false_negative > 0, scores, bar),
        "tiered_iou": float(tiered_iou(fit.mask).mean()),
        "soft_tiered_iou": float(tiered_iou(fit.soft).mean()),
        "mean_iou": float(overlap.mean()),
        "min_iou": float(overlap.min()),
        "mean_dice": float(dice(fit.mask).mean()),
        "mean_spread": float(fit.spread.mean()),
        "true_positive": hit,
        "false_positive": false,
        "false_negative": missed,
        "true_negative": right,
    }


def _of_classes(fit: ClassFit, scores: np.ndarray, bar: float, background: bool) -> dict[str, Any]:
    filled = (fit.true_positive + fit.false_negative)[:, 1:].any(axis=1)
    means = {name: float(score_of(name, background)(fit).mean()) for name in OF_CLASSES}
    return {**_of_filled(filled, scores, bar), **means}


def _of_filled(filled: np.ndarray, scores: np.ndarray, bar: float) -> dict[str, Any]:
    """Figures of the pairs with foreground: where most are without, a network that finds nothing has a good mean."""
    of_filled = scores[filled]
    return {
        "foreground_pairs": len(of_filled),
        "foreground_score": float(of_filled.mean()) if len(of_filled) else None,
        "foreground_below_bar": int((of_filled < bar).sum()),
    }


def _of_labels(fit: LabelFit) -> dict[str, Any]:
    return {
        "hit_rate": float(hit_rate(fit).mean()),
        "mean_true_probability": float(fit.true.mean()),
        "min_true_probability": float(fit.true.min()),
    }


def of_each_class(fit: ClassFit, classes: Sequence[PixelClass], background: bool) -> dict[str, Any]:
    """The figures of each class over the pixels of all pairs, as benchmarks of segmentation count.

    Parameters
    ----------
    fit : ClassFit
        Of n pairs.
    classes : sequence of PixelClass
        The classes, the background first.
    background : bool
        Whether it counts in the mean.

    Returns
    -------
    dict
        ``class_mean_iou`` over the classes that are in a true or a predicted mask; and ``classes``: of each the pairs
        that hold it, and IoU, Dice, precision and recall of its pixels, None where they are 0 of 0.
    """
    hit, false, missed = (count.sum(axis=0) for count in fit[:3])
    pairs = (fit.true_positive + fit.false_negative > 0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        overlap, precision, recall = hit / (hit + false + missed), hit / (hit + false), hit / (hit + missed)
    figures = {
        each.name: {
            "pairs": int(pairs[place]),
            "iou": _or_none(overlap[place]),
            "dice": _or_none(dice_of(overlap[place])),
            "precision": _or_none(precision[place]),
            "recall": _or_none(recall[place]),
        }
        for place, each in enumerate(classes)
    }
    counted = overlap[0 if background else 1 :]
    return {"class_mean_iou": _or_none(np.nanmean(counted)) if np.isfinite(counted).any() else None, "classes": figures}


def _or_none(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def distribution(scores: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Count the pairs by score, as shares.

    Parameters
    ----------
    scores : mapping of str to ndarray, shape (n,)
        Scores of each kind of pairs; in [0, 1.1].

    Returns
    -------
    dict of str to list of float
        Columns of a table: score, the lower ends of steps of .1, and the shares of each kind.
    """
    columns: dict[str, list[float]] = {"score": BINS.tolist()}
    for name, values in scores.items():
        # A hair is added since .3 from a sum of floats may lie below the .3 of a step.
        steps = np.clip(np.floor(values * 10 + 1e-9).astype(int), 0, len(BINS) - 1)
        columns[name] = (np.bincount(steps, minlength=len(BINS)) / max(1, len(values))).tolist()
    return columns


def shares_below(scores: np.ndarray) -> list[float]:
    """Shares of the pairs with a score below each of the steps of `distribution`; scores of shape (n,)."""
    return [float(np.mean(scores < step - 1e-9)) for step in BINS]
