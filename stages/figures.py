"""Plot data that the stages write for ``dvc plots``."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

BINS = np.round(np.arange(0, 1.2, 0.1), 1)  # the steps of the tiered IoU; scores of other kinds fall between


def write_distribution(path: Path, scores: Mapping[str, np.ndarray]) -> None:
    """Shares of pairs by score, a line a kind of pairs and step of .1.

    Parameters
    ----------
    path : Path
        The CSV file: columns pairs, score (the step's lower end), share.
    scores : mapping of str to ndarray, shape (n,)
        Scores of each kind of pairs; in [0, 1.1].
    """
    lines = ["pairs,score,share\n"]
    for name, values in scores.items():
        # A hair is added since .3 from a sum of floats may lie below the .3 of a step.
        steps = np.clip(np.floor(values * 10 + 1e-9).astype(int), 0, len(BINS) - 1)
        shares = np.bincount(steps, minlength=len(BINS)) / max(1, len(values))
        lines += [f"{name},{low},{share}\n" for low, share in zip(BINS.tolist(), shares.tolist(), strict=True)]
    path.write_text("".join(lines), encoding="utf-8")
