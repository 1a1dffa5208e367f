"""Ways to choose the core, one file each; stages/choices.yaml lists them.

A strategy knows neither TensorFlow nor Zarr. It sees a learner, which trains on positions of the pool and scores
them, and how long the pool is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple, Protocol

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

    def verify(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """The same, bit for bit as stage ``evaluate`` will compute it."""
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
        Most epochs of a training round; a further pass leaves a pair behind that still fails after as many.
    max_passes : int
        Most walks through the pool: 1 as in the article; with more, until one of them finds no failure.
    check_size : int
        Pairs that a further pass scores at once.
    """

    precision: float
    bar: float
    scan_size: int
    batch_size: int
    max_epochs: int
    max_passes: int = 1
    check_size: int = 50


@dataclass
class Choice:
    """A pair of the core: where it stands in the pool, its score when it failed, the epochs it then took.

    The seed pairs have no score.
    """

    position: int
    score: float | None
    epochs: int = 0


class Round(NamedTuple):
    """How far a walk was at the end of a training round: pairs tested in all passes, pairs chosen, last epoch."""

    tested: int
    selected: int
    score: float | None
    loss: float | None
    epochs: int


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
        Pairs dealt with in the first pass, the seed pairs among them.
    scanned : int
        Pairs that passed in the scan under way.
    passed : int
        Pairs that passed since the last failure, or in the scan that found it: how far apart failures are by now.
    training : bool
        Whether a training round is due or under way; else a scan is.
    failed : int, optional
        Place in the core of the pair whose failure led to that round.
    round_epochs : int
        Epochs of the training round so far.
    epochs, pairs_trained, pairs_scored, stalled_rounds : int
        Work done; a round is stalled if it reached its most epochs before its score.
    score, loss : float, optional
        Of the last epoch; absent before the first.
    rounds : list of Round
        The walk's course.
    passes : int
        The pass that is under way or was the last.
    added : list of int
        Pairs that each finished pass chose.
    checked : int
        Pairs dealt with in the pass under way, from the second on.
    place_epochs : int
        Epochs since that number last rose.
    core_before : int
        Size of the core when that pass began.
    changed : bool
        Whether the weights changed since then.
    certified : bool, optional
        Whether the last pass tested every pair with the final weights and none failed; absent if none tried to.
    """

    pool: int
    chosen: list[Choice]
    tested: int
    scanned: int = 0
    passed: int = 0
    training: bool = False
    failed: int | None = None
    round_epochs: int = 0
    epochs: int = 0
    pairs_trained: int = 0
    pairs_scored: int = 0
    stalled_rounds: int = 0
    score: float | None = None
    loss: float | None = None
    rounds: list[Round] = field(default_factory=list)
    passes: int = 1
    added: list[int] = field(default_factory=list)
    checked: int = 0
    place_epochs: int = 0
    core_before: int = 0
    changed: bool = False
    certified: bool | None = None

    @classmethod
    def start(cls, pool: int, seeds: int) -> "Walk":
        """A walk whose core is the first ``seeds`` pairs."""
        return cls(pool=pool, chosen=[Choice(position, None) for position in range(seeds)], tested=seeds)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "Walk":
        """The walk that ``dataclasses.asdict`` made these JSON values of."""
        chosen = [Choice(**choice) for choice in values["chosen"]]
        rounds = [Round(*each) for each in values["rounds"]]
        return cls(**{**values, "chosen": chosen, "rounds": rounds})


class Strategy(Protocol):
    """A way to choose: carries a walk on to its end and yields it after every epoch and every scan."""

    def __call__(self, learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]: ...


def strategy(name: str) -> Strategy:
    """The strategy of a name in stages/choices.yaml."""
    found: Strategy = import_module(f"stages.strategies.{name}").choose
    return found
