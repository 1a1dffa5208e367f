"""Plot data that the stages write for ``dvc plots``."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

BINS = np.round(np.arange(0, 1.2, 0.1), 1)  # the steps of the tiered IoU; scores of other kinds fall between


def write_distribution(path: Path, scores: Mapping[str, np.ndarray]) -> None:
    """Shares of pairs by score: a line a step of .1, a column a kind of pairs.

    Parameters
    ----------
    path : Path
        The CSV file: column score, the step's lower end, and a column of shares for each kind.
    scores : mapping of str to ndarray, shape (n,)
        Scores of each kind of pairs; in [0, 1.1].
    """
    columns = {"score": BINS.tolist()}
    for name, values in scores.items():
        # A hair is added since .3 from a sum of floats may lie below the .3 of a step.
        steps = np.clip(np.floor(values * 10 + 1e-9).astype(int), 0, len(BINS) - 1)
        columns[name] = (np.bincount(steps, minlength=len(BINS)) / max(1, len(values))).tolist()
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([list(columns), *zip(*columns.values(), strict=True)])
