"""The learner as a strategy sees it: a network that trains on positions of the pool and scores them."""

from collections.abc import Container, Sequence
from typing import NamedTuple, Protocol

import numpy as np

PREDICTION_BATCH = 50  # pairs that are predicted at once
STATISTICS = 100  # pairs whose statistics predict others; those of one training step let pairs fail by accident
SHOWN = 20  # predictions of each kind of pairs that are kept to be looked at, those that fit worst


class Epoch(NamedTuple):
    """Mean score and loss of an epoch over its pairs, taken while the weights moved."""

    score: float
    loss: float


class Verified(NamedTuple):
    """What predictions of pairs come to.

    Attributes
    ----------
    scores : ndarray of float64, shape (n,)
        In the score that the parameters name, which may have few steps.
    closeness : ndarray of float64, shape (n,)
        How close each prediction is, in [0, 1] and without steps.
    shortfalls : ndarray of float64, shape (n,)
        How much closer it expects to be, see `stages.learning.scores.shortfall`.
    fits : ndarray of float64, shape (n, m)
        All that any score is computed from.
    """

    scores: np.ndarray
    closeness: np.ndarray
    shortfalls: np.ndarray
    fits: np.ndarray


class Learner(Protocol):
    """A network that trains on pairs of the pool and rates them."""

    def fit_epoch(self, positions: Sequence[int], steps: int | None = None, remember: Container[int] = ()) -> Epoch:
        """Train once on each of some pairs, or on as many as some steps take; after some steps remember the weights."""
        ...

    def fit_step(self, positions: Sequence[int], rate: float = 1.0, as_stored: int = 0) -> Epoch:
        """Train once on some pairs, together, at a share of the learning rate; the first ones not augmented."""
        ...

    def estimate(self, positions: Sequence[int]) -> None:
        """Predict by statistics of some pairs, until the next training; so far by those of the last training."""
        ...

    def score(self, positions: Sequence[int]) -> np.ndarray:
        """Scores of some pairs; float64 of shape (n,)."""
        ...

    def expect(self, positions: Sequence[int] | np.ndarray) -> None:
        """Take notice of the pairs that will be asked for next, block by block; other machines may begin with them."""
        ...

    def verify(self, positions: Sequence[int] | np.ndarray) -> Verified:
        """Scores and fits of some pairs, bit for bit as stage ``evaluate`` would compute them."""
        ...

    def uncertainty(self, positions: Sequence[int]) -> np.ndarray:
        """Uncertainty of the predictions of some pairs; float64 of shape (n, 1)."""
        ...

    def error_norm(self, positions: Sequence[int]) -> np.ndarray:
        """Norms of the errors of the predictions of some pairs; float64 of shape (n, 1)."""
        ...

    def features(self, positions: Sequence[int]) -> np.ndarray:
        """Features that the network finds in the images of some pairs; float64 of shape (n, m)."""
        ...

    def shapes(self, positions: Sequence[int]) -> np.ndarray:
        """Foreground pixels and shape complexity of the masks of some pairs; float64 of shape (n, 2)."""
        ...

    def renew(self) -> None:
        """Begin anew with fresh weights."""
        ...

    def recall(self, positions: Sequence[int]) -> None:
        """Put the average of the remembered weights in their place, if any were, with statistics of some pairs."""
        ...
