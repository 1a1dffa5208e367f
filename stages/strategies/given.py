"""Pairs that an earlier choice named: the worth of a core to a network that did not choose it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import Field

from stages.learning.protocol import Learner
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import Section
from stages.strategies.shared.budget import BudgetState, train_on
from stages.strategies.shared.strategy import Pool, Settings


class Options(Section):
    """Which pairs."""

    table: str = Field(description="table of the pairs to choose, as the `core.csv` of an earlier run")


@dataclass
class GivenState(BudgetState):
    """How far the training has come, and the positions that the table names."""

    given: list[int] = field(default_factory=list)


def start(pool: Pool, settings: Settings) -> GivenState:
    """The state before any training.

    Raises
    ------
    UserError
        If the table names no pairs, or pairs that are not in the pool.
    """
    positions = pool.positions_of(settings.options.table)
    if not positions:
        raise UserError("select.given.table names a table without rows, allowed is the core.csv of an earlier run")
    return GivenState(pool.size, given=list(positions))


def choose(learner: Learner, state: GivenState, settings: Settings) -> Iterator[BudgetState]:
    """Train on the pairs of the table."""
    return train_on(state.given, learner, state, settings)
