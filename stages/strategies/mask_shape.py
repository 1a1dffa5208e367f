"""The pairs whose masks have the least simple shapes (Dai et al., 2025); no network rates them."""

from collections.abc import Iterator

from stages.learning.protocol import Learner
from stages.strategies.shared.budget import BudgetState, NoOptions, highest, rate, start, train_on
from stages.strategies.shared.strategy import Settings

__all__ = ["Options", "choose", "start"]
Options = NoOptions


def choose(learner: Learner, state: BudgetState, settings: Settings) -> Iterator[BudgetState]:
    """Measure all masks, then train a fresh network on those of the highest shape complexity, summed over objects."""
    if not state.budget:
        yield from rate(learner.shapes, learner, state)
    yield from train_on(highest(state.ratings[:, 1], settings), learner, state, settings)
