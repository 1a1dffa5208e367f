"""The pairs of which the seed network is least sure."""

from collections.abc import Iterator

from stages.learning.protocol import Learner
from stages.strategies.shared.budget import BudgetState, NoOptions, highest, rate, start, train_on
from stages.strategies.shared.strategy import Settings

__all__ = ["Options", "choose", "start"]
Options = NoOptions


def choose(learner: Learner, state: BudgetState, settings: Settings) -> Iterator[BudgetState]:
    """Rate all pairs with the seed network, then train a fresh one on the most uncertain."""
    if not state.budget:
        yield from rate(learner.uncertainty, learner, state)
    yield from train_on(highest(state.ratings[:, 0], settings), learner, state, settings)
