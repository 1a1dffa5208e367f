"""The whole pool: what a core is measured against, and how the lesson trains."""

from collections.abc import Iterator

from stages.strategies import Learner, Settings, Walk, train_on


def choose(learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]:
    """Train on every pair."""
    return train_on(range(walk.pool), learner, walk, settings)
