"""The pairs that a network forgets most often while it trains on the pool (Toneva et al., 2019)."""

from collections.abc import Iterator, Sequence

import numpy as np

from stages.learning.protocol import Learner
from stages.strategies.shared.budget import BudgetState, RatingOptions, highest, rate, start, train_on, train_on_pool
from stages.strategies.shared.strategy import Settings

__all__ = ["Options", "choose", "start"]


Options = RatingOptions


def choose(learner: Learner, state: BudgetState, settings: Settings) -> Iterator[BudgetState]:
    """Score all pairs after each epoch on the pool, then train a fresh network on those forgotten most often.

    A pair is forgotten when it fails after an epoch and did not after the one before; one that never passed counts as
    forgotten more often than any other.
    """

    def score(positions: Sequence[int]) -> np.ndarray:
        return learner.score(positions)[:, None]

    if not state.budget:
        epochs = settings.options.rating_epochs
        for epoch in range(epochs):
            yield from train_on_pool(epoch + 1, learner, state)
            yield from rate(score, learner, state, epoch, epochs)
    yield from train_on(highest(_forgotten(state, settings), settings), learner, state, settings)


def _forgotten(state: BudgetState, settings: Settings) -> np.ndarray:
    passed = state.ratings.reshape(-1, state.pool) >= settings.bar
    times = (passed[:-1] & ~passed[1:]).sum(axis=0)
    return np.where(passed.any(axis=0), times, len(passed))
