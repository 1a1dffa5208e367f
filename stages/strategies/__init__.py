"""Ways to choose the core, one file each; stages/choices.yaml lists them.

A strategy knows neither TensorFlow nor Zarr. It sees a learner, which trains on positions of the pool and scores
them, and how long the pool is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple, Protocol

import numpy as np


class Epoch(NamedTuple):
    """What an epoch of training came to: means over its pairs, taken while the weights moved."""

    score: float
    loss: float


class Learner(Protocol):
    """What a strategy needs of a network."""

    def fit_epoch(self, positions: Sequence[int]) -> Epoch:
        """Train once on each of some pairs."""
        ...

    def score(self, positions: Sequence[int]) -> np.ndarray:
        """How well each of some pairs is predicted; float64 of shape (n,)."""
        ...


@dataclass(frozen=True)
class Settings:
    """What governs a choice.

    Attributes
    ----------
    precision : float
        A training round ends once an epoch's score is above it.
    bar : float
        A pair fails when its score is below it.
    scan_size : int
        Most pairs that are tested between two training rounds.
    batch_size : int
        Most pairs that are scored at once.
    max_epochs : int
        Most epochs of a training round.
    """

    precision: float
    bar: float
    scan_size: int
    batch_size: int
    max_epochs: int


@dataclass
class Choice:
    """A pair of the core: where it stands in the pool, its score when it failed, the epochs it then took.

    The seed pairs have no score.
    """

    position: int
    score: float | None
    epochs: int = 0


@dataclass
class Walk:
    """How far a choice has come; plain data, from which it can go on.

    Attributes
    ----------
    pool : int
        Pairs to choose from.
    chosen : list of Choice
        The core so far, in the order of choice.
    tested : int
        Pairs dealt with, the seed pairs among them.
    passed : int
        Pairs that passed since the last failure, or in the scan that found it: how far apart failures are by now.
    training : bool
        Whether a training round is due or under way; else a scan is.
    round_epochs : int
        Epochs of the training round so far.
    epochs, pairs_trained, pairs_scored, stalled_rounds : int
        Work done; a round is stalled if it reached its most epochs before its score.
    score, loss : float, optional
        Of the last epoch; absent before the first.
    """

    pool: int
    chosen: list[Choice]
    tested: int
    passed: int = 0
    training: bool = False
    round_epochs: int = 0
    epochs: int = 0
    pairs_trained: int = 0
    pairs_scored: int = 0
    stalled_rounds: int = 0
    score: float | None = None
    loss: float | None = None

    @classmethod
    def start(cls, pool: int, seeds: int) -> "Walk":
        """A walk whose core is the first ``seeds`` pairs."""
        return cls(pool=pool, chosen=[Choice(position, None) for position in range(seeds)], tested=seeds)


class Strategy(Protocol):
    """A way to choose: carries a walk on to its end and yields it after every epoch and every scan."""

    def __call__(self, learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]: ...


def strategy(name: str) -> Strategy:
    """The strategy of a name in stages/choices.yaml."""
    found: Strategy = import_module(f"stages.strategies.{name}").choose
    return found
