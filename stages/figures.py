"""Plot data that the stages write for ``dvc plots`` and for the report."""

from collections.abc import Mapping

import numpy as np

BINS = np.round(np.arange(0, 1.2, 0.1), 1)  # the steps of the tiered IoU; scores of other kinds fall between


def distribution(scores: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Shares of pairs by score.

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
