"""The pairs on which a network that has hardly begun to learn is furthest off (Paul, Ganguli & Dziugaite, 2021)."""

from collections.abc import Iterator

from stages.learning.protocol import Learner
from stages.strategies.shared.budget import BudgetState, RatingOptions, highest, rate, start, train_on, train_on_pool
from stages.strategies.shared.strategy import Settings

__all__ = ["Options", "choose", "start"]


Options = RatingOptions


def choose(learner: Learner, state: BudgetState, settings: Settings) -> Iterator[BudgetState]:
    """Train on the pool for some epochs, rate, then train a fresh network on the worst predicted pairs."""
    if not state.budget:
        yield from train_on_pool(settings.options.rating_epochs, learner, state)
        yield from rate(learner.error_norm, learner, state)
    yield from train_on(highest(state.ratings[:, 0], settings), learner, state, settings)
