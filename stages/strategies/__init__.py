"""Ways to choose the core, one file each; stages/choices.yaml lists them.

A strategy knows neither TensorFlow nor Zarr. It sees a learner, which trains on positions of the pool and scores
them, and how long the pool is.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np

from stages.errors import UserError

ARRAYS = ("scores", "ratings")  # of a walk
MOMENTS = 20  # whose weights make an average: with more of them it hardly changes


class Epoch(NamedTuple):
    """What an epoch of training came to: means over its pairs, taken while the weights moved."""

    score: float
    loss: float


class Learner(Protocol):
    """What a strategy needs of a network."""

    def fit_epoch(self, positions: Sequence[int], steps: int | None = None, remember: Container[int] = ()) -> Epoch:
        """Train once on each of some pairs, or on as many as some steps take; after some steps remember the weights."""
        ...

    def score(self, positions: Sequence[int]) -> np.ndarray:
        """How well each of some pairs is predicted; float64 of shape (n,)."""
        ...

    def verify(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """The same, bit for bit as stage ``evaluate`` will compute it."""
        ...

    def uncertainty(self, positions: Sequence[int]) -> np.ndarray:
        """How unsure predictions of some pairs are; float64 of shape (n, 1)."""
        ...

    def error_norm(self, positions: Sequence[int]) -> np.ndarray:
        """How far predictions of some pairs are off; float64 of shape (n, 1)."""
        ...

    def features(self, positions: Sequence[int]) -> np.ndarray:
        """What the network makes of the images of some pairs; float64 of shape (n, m)."""
        ...

    def renew(self) -> None:
        """Forget all that was learnt."""
        ...

    def recall(self, positions: Sequence[int]) -> None:
        """Put the average of the weights that were remembered, if any, in their place, and settle it on some pairs."""
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
    size : int
        Pairs to choose, for strategies that do not go by failures.
    rating_epochs : int
        Epochs on the whole pool before a strategy that goes by them rates its pairs.
    epochs : int
        Epochs that such a strategy trains for on what it chose.
    steps : int, optional
        Training steps in place of epochs.
    averaged : float
        Share of the training steps, the last ones, over which weights are averaged; in [0, 1].
    seed : int
        Of what such a strategy draws.
    given : sequence of int
        Positions that were chosen elsewhere.
    """

    precision: float
    bar: float
    scan_size: int
    batch_size: int
    max_epochs: int
    max_passes: int = 1
    check_size: int = 50
    size: int = 1
    rating_epochs: int = 1
    epochs: int = 1
    steps: int | None = None
    averaged: float = 0
    seed: int = 0
    given: Sequence[int] = ()


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
    end : int
        Those that the first pass walks; fewer than all if it goes on from an earlier core, which rejected the others.
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
    steps : int
        Training steps done.
    scores : ndarray of float64, shape (n,)
        Of each pair when it was tested last; NaN before.
    ratings : ndarray of float32, shape (n, m)
        What a strategy finds out of pairs, sweep by sweep over the pool.
    rated : int
        Rows of it that are found out so far.
    rating_epochs : int
        Epochs on the whole pool so far.
    budget : int
        Training steps to do, of a strategy that chooses first and then trains; 0 before it trains.
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
    steps: int = 0
    budget: int = 0
    end: int = 0
    rating_epochs: int = 0
    rated: int = 0
    scores: np.ndarray = field(default_factory=lambda: np.empty(0), compare=False)
    ratings: np.ndarray = field(default_factory=lambda: np.empty((0, 1), np.float32), compare=False)

    @classmethod
    def start(cls, pool: int, seeds: int) -> "Walk":
        """A walk whose core is the first ``seeds`` pairs."""
        chosen = [Choice(position, None) for position in range(seeds)]
        return cls(pool=pool, chosen=chosen, tested=seeds, core_before=seeds, end=pool, scores=np.full(pool, np.nan))

    def plain(self) -> dict[str, Any]:
        """The same as JSON values, but for its `arrays`."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ARRAYS}
        return {**plain, "chosen": [asdict(choice) for choice in self.chosen]}

    def arrays(self) -> dict[str, np.ndarray]:
        """Scores and ratings, by these names."""
        return {name: getattr(self, name) for name in ARRAYS}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Walk":
        """The walk that `plain` and `arrays` made these values of."""
        chosen = [Choice(**choice) for choice in values["chosen"]]
        rounds = [Round(*each) for each in values["rounds"]]
        found = {name: arrays[name] for name in ARRAYS}
        return cls(**{**values, **found, "chosen": chosen, "rounds": rounds})


def require_size(walk: Walk, settings: Settings) -> None:
    """Check that there are as many pairs as are to be chosen."""
    if settings.size > walk.pool:
        raise UserError(f"select.size is {settings.size}, allowed is at most {walk.pool}, the pairs of the pool")


def steps_of_epoch(walk: Walk, settings: Settings) -> int:
    """Training steps of an epoch on all that is chosen."""
    return -(-len(walk.chosen) // settings.batch_size)


Rating = Callable[[Sequence[int]], np.ndarray]


def rate(rating: Rating, sweep: int, sweeps: int, walk: Walk, settings: Settings) -> Iterator[Walk]:
    """Rate all pairs of the pool, block by block, unless that is done; a sweep of several, counted from 0."""
    while walk.rated < (sweep + 1) * walk.pool:
        start = walk.rated - sweep * walk.pool
        block = range(start, min(start + settings.check_size, walk.pool))
        found = rating(block)
        if not walk.rated:
            walk.ratings = np.empty((sweeps * walk.pool, found.shape[1]), np.float32)
        walk.ratings[walk.rated : walk.rated + len(block)] = found
        walk.rated += len(block)
        walk.tested = block.stop
        walk.pairs_scored += len(block)
        yield walk


def train_on_pool(epochs: int, learner: Learner, walk: Walk) -> Iterator[Walk]:
    """Train on the whole pool until that many epochs are done, to rate its pairs then."""
    while walk.rating_epochs < epochs:
        walk.score, walk.loss = learner.fit_epoch(range(walk.pool))
        walk.rating_epochs += 1
        yield walk


def highest(values: np.ndarray, settings: Settings) -> list[int]:
    """Positions of the highest values, highest first; of equal ones it is drawn which come first."""
    drawn = np.random.default_rng(settings.seed).permutation(len(values))
    positions: list[int] = drawn[np.argsort(-values[drawn], kind="stable")][: settings.size].tolist()
    return positions


def train_on(positions: Sequence[int], learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]:
    """Make some pairs the core, unless that is done, and train a fresh network on it for the steps that are allowed."""
    if not walk.budget:
        learner.renew()
        walk.chosen = [Choice(position, None) for position in positions]
        walk.tested = walk.pool
        walk.budget = settings.steps or settings.epochs * steps_of_epoch(walk, settings)
        yield walk
    chosen = [choice.position for choice in walk.chosen]
    moments = moments_to_remember(walk.budget, settings.averaged)
    while walk.steps < walk.budget:
        left = walk.budget - walk.steps
        walk.score, walk.loss = learner.fit_epoch(chosen, left, {moment - walk.steps for moment in moments})
        walk.pairs_trained += min(len(chosen), left * settings.batch_size)
        walk.steps += min(left, steps_of_epoch(walk, settings))
        walk.epochs += 1
        walk.rounds.append(Round(walk.tested, len(chosen), walk.score, walk.loss, walk.epochs))
        yield walk
    learner.recall(chosen)


def moments_to_remember(budget: int, averaged: float) -> set[int]:
    """Training steps, counted from 1, after which weights are taken into the average: evenly spaced, up to the last."""
    return {budget - round(part / MOMENTS * averaged * budget) for part in range(MOMENTS)} if averaged else set()


class Strategy(Protocol):
    """A way to choose: carries a walk on to its end and yields it after every epoch and every scan."""

    def __call__(self, learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]: ...


def strategy(name: str) -> Strategy:
    """The strategy of a name in stages/choices.yaml."""
    found: Strategy = import_module(f"stages.strategies.{name}").choose
    return found
