"""The whole pool: what a core is measured against, and how the lesson trains."""

from collections.abc import Iterator

from stages.learning.protocol import Learner
from stages.strategies.shared.budget import BudgetState, NoOptions, train_on
from stages.strategies.shared.strategy import Pool, Settings

Options = NoOptions


def start(pool: Pool, settings: Settings) -> BudgetState:
    """The state before any training; the number of pairs to choose is not asked for."""
    return BudgetState(pool.size)


def choose(learner: Learner, state: BudgetState, settings: Settings) -> Iterator[BudgetState]:
    """Train on every pair."""
    return train_on(range(state.pool), learner, state, settings)
