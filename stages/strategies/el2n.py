"""The pairs on which a network that has hardly begun to learn is furthest off (Paul, Ganguli & Dziugaite, 2021)."""

from collections.abc import Iterator

from stages.strategies import Learner, Settings, Walk, highest, rate, require_size, train_on, train_on_pool


def choose(learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]:
    """Train on the pool for ``settings.rating_epochs``, rate, then train a fresh network on the worst predicted."""
    require_size(walk, settings)
    if not walk.budget:
        yield from train_on_pool(settings.rating_epochs, learner, walk)
        yield from rate(learner.error_norm, 0, 1, walk, settings)
    yield from train_on(highest(walk.ratings[:, 0], settings), learner, walk, settings)
