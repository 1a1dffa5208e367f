"""The pairs that a network forgets most often while it trains on the pool (Toneva et al., 2019)."""

from collections.abc import Iterator, Sequence

import numpy as np

from stages.strategies import Learner, Settings, Walk, highest, rate, require_size, train_on, train_on_pool


def choose(learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]:
    """Score all pairs after each epoch on the pool, then train a fresh network on those forgotten most often.

    A pair is forgotten when it fails after an epoch and did not after the one before; one that never passed counts as
    forgotten more often than any other.
    """
    require_size(walk, settings)

    def score(positions: Sequence[int]) -> np.ndarray:
        return learner.score(positions)[:, None]

    if not walk.budget:
        for epoch in range(settings.rating_epochs):
            yield from train_on_pool(epoch + 1, learner, walk)
            yield from rate(score, epoch, settings.rating_epochs, walk, settings)
    yield from train_on(highest(_forgotten(walk, settings), settings), learner, walk, settings)


def _forgotten(walk: Walk, settings: Settings) -> np.ndarray:
    passed = walk.ratings.reshape(-1, walk.pool) >= settings.bar
    times = (passed[:-1] & ~passed[1:]).sum(axis=0)
    return np.where(passed.any(axis=0), times, len(passed))
