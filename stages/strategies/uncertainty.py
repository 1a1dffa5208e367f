"""The pairs of which the seed network is least sure."""

from collections.abc import Iterator

from stages.strategies import Learner, Settings, Walk, highest, rate, require_size, train_on


def choose(learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]:
    """Rate all pairs with the seed network, then train a fresh one on the ``settings.size`` most uncertain."""
    require_size(walk, settings)
    if not walk.budget:
        yield from rate(learner.uncertainty, 0, 1, walk, settings)
    yield from train_on(highest(walk.ratings[:, 0], settings), learner, walk, settings)
