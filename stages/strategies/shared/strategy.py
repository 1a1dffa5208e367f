"""A way to choose: its interface, its settings, and the strategy of a name.

A strategy knows neither TensorFlow nor Zarr. It sees a learner, which trains on positions of the pool and scores
them, and how long the pool is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from stages.learning.protocol import Learner
from stages.pairs.tables import Choice
from stages.pipeline.params.sections import BudgetParams, Section
from stages.strategies.shared.state import State


@dataclass(frozen=True)
class Settings:
    """The parameters that every strategy gets.

    Attributes
    ----------
    precision : float
        The score that an epoch has to pass.
    bar : float
        A pair fails when its score is below it.
    confidence : float
        Of the bound on the share of fresh pairs that fail.
    suspect_below : float
        A pair with a lower score is set aside rather than learnt, by a strategy that can; 0 for none.
    batch_size : int
        Pairs of a training step.
    seeds : int
        Pairs that the seed network was trained on, the first ones of the pool.
    seed : int
        Of the random draws.
    budget : BudgetParams
        Pairs to choose and training on them, for strategies that do not go by failures.
    retrain : int
        Training steps of a fresh network on the core, which takes the place of the one that chose it; 0 for none.
    options : Section
        The strategy's own; its class is ``Options`` of the strategy's file.
    """

    precision: float
    bar: float
    confidence: float
    suspect_below: float
    batch_size: int
    seeds: int
    seed: int
    budget: BudgetParams
    retrain: int
    options: Any


class Pool(Protocol):
    """The pool as a strategy sees it: positions from 0 on."""

    @property
    def size(self) -> int:
        """Pairs to choose from."""
        ...

    @property
    def end(self) -> int:
        """Position behind the last pair that a walk has to test; pairs behind it were rejected by an earlier walk."""
        ...

    @property
    def core(self) -> list[Choice]:
        """The earlier core that a walk goes on from: its pairs stand first."""
        ...

    @property
    def strategy(self) -> str | None:
        """The strategy that chose the earlier core, if there is one."""
        ...

    def positions_of(self, table: str) -> Sequence[int]:
        """Positions of the rows that a table names."""
        ...


class Strategy(Protocol):
    """A file of stages/strategies."""

    Options: type[Section]

    def start(self, pool: Pool, settings: Settings) -> State:
        """The state before the first step; raises UserError if the settings do not fit the pool."""
        ...

    def choose(self, learner: Learner, state: Any, settings: Settings) -> Iterator[State]:
        """Carry the choice on to its end; yield the state after every epoch and every scan."""
        ...


def strategy_of(name: str) -> Strategy:
    """The strategy of a name in stages/choices.yaml."""
    found: Any = import_module(f"stages.strategies.{name}")
    strategy: Strategy = found
    return strategy
