"""The article's walk: whatever the network cannot predict yet joins the core, and is learnt before the walk goes on.

The article walks the pool once and claims that every pair of it is predicted well in the end. Further passes make
that true: they end with one that finds no failure, and so proves the claim for the weights that it leaves.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import Field

from stages.learning.protocol import PREDICTION_BATCH, Learner
from stages.pairs.tables import Choice
from stages.pipeline.params.sections import INT_MAX, Section
from stages.strategies.shared.budget import steps_of_epoch
from stages.strategies.shared.replay import retrain
from stages.strategies.shared.state import Progress, Round, State
from stages.strategies.shared.strategy import Pool, Settings


class Options(Section):
    """How the pool is walked."""

    scan_size: int = Field(ge=1, le=INT_MAX, description="most pairs tested between two training rounds")
    max_epochs: int = Field(
        ge=1, le=INT_MAX, description="most epochs of a training round; `stalled_rounds` counts rounds that end so"
    )
    passes: Literal[1, "until_certified"] = Field(
        description="`1` as in the article, or `until_certified`: further passes, until one finds no failure"
    )
    max_passes: int = Field(ge=2, le=INT_MAX, description="most passes on the way to a certificate, the first included")


@dataclass
class Walk(State):
    """How far the walk has come.

    Attributes
    ----------
    end : int
        Pairs that the first pass walks; fewer than all if it goes on from an earlier core, which rejected the others.
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

    ROUND_LIMIT = "select.first_failure.max_epochs before precision; the walk goes on"

    end: int = 0
    scanned: int = 0
    passed: int = 0
    training: bool = False
    failed: int | None = None
    round_epochs: int = 0
    passes: int = 1
    added: list[int] = field(default_factory=list)
    checked: int = 0
    place_epochs: int = 0
    core_before: int = 0
    changed: bool = False
    certified: bool | None = None

    def progress(self) -> Progress:
        """Pairs dealt with in the pass under way."""
        walked = super().progress()
        if self.passes == 1:
            return walked
        return walked._replace(done=self.checked, figures={"pass": self.passes, **walked.figures})

    def warnings(self) -> list[str]:
        """A line on passes that ended without a certificate, with the others."""
        lines = super().warnings()
        if self.certified is False:
            lines.append(
                "select.first_failure.max_passes are over and the last one still found failures: no certificate"
            )
        return lines

    def metrics(self) -> dict[str, Any]:
        """Figures with passes and the certificate, which is not for a network that was retrained."""
        return {
            **super().metrics(),
            "certified": None if self.retrained else self.certified,
            "passes": self.passes,
            "added_by_pass": {str(number): added for number, added in enumerate(self.added, 1)},
        }


def start(pool: Pool, settings: Settings) -> Walk:
    """A walk from an earlier core, or else from the seed pairs."""
    chosen = [*pool.core] or [Choice(position, None) for position in range(settings.seeds)]
    return Walk(pool.size, chosen, tested=len(chosen), end=pool.end, core_before=len(chosen))


def choose(learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]:
    """Scan up to the first failure, train on all that is chosen until it is learnt, and so on to the pool's end.

    The scan that tests the last pair ends the first pass: if that pair failed, it is chosen and not trained on.
    """
    while walk.tested < walk.end:
        if walk.training:
            train(learner, walk, settings)
        else:
            scan(learner, walk, settings)
        yield walk
    if not walk.added:
        walk.added.append(len(walk.chosen) - walk.core_before)
        if settings.options.passes == "until_certified":
            _begin_pass(walk)
    while walk.passes > 1 and walk.certified is None:
        if walk.training:
            train(learner, walk, settings)
        else:
            check(learner, walk, settings)
        yield walk
    if settings.retrain:
        yield from retrain(learner, walk, settings, settings.batch_size)


def train(learner: Learner, walk: Walk, settings: Settings) -> None:
    """One epoch on the core; it ends the round if its score is good enough or the round has lasted too long."""
    epoch = learner.fit_epoch(walk.positions)
    walk.score, walk.loss = epoch
    walk.epochs += 1
    walk.round_epochs += 1
    walk.place_epochs += 1
    walk.pairs_trained += len(walk.chosen)
    walk.steps += steps_of_epoch(walk, settings)
    if walk.failed is not None:
        walk.chosen[walk.failed].epochs += 1
    learnt = epoch.score > settings.precision
    if learnt or walk.round_epochs >= settings.options.max_epochs:
        walk.stalled_rounds += not learnt
        walk.training = False
        walk.round_epochs = 0
        walk.failed = None
        _note_round(walk)


def scan(learner: Learner, walk: Walk, settings: Settings) -> None:
    """Test the next pairs of a scan; a failure or the most pairs of a scan end it, and a training round is due."""
    stop = min(walk.tested - walk.scanned + settings.options.scan_size, walk.end)
    size = _block_size(walk.passed + walk.scanned, settings)
    block = range(walk.tested, min(walk.tested + size, stop))
    scores = learner.score(block)
    walk.pairs_scored += len(block)
    failures = np.flatnonzero(scores < settings.bar)
    count = int(failures[0]) + 1 if failures.size else len(block)
    walk.scores[block[:count]] = scores[:count]
    if failures.size:
        first = count - 1
        walk.tested = block[first] + 1
        walk.passed = walk.scanned + first
        _fail(walk, block[first], float(scores[first]))
    else:
        walk.tested = block.stop
        walk.scanned += len(block)
        if walk.tested < stop:
            return
        walk.passed += walk.scanned
    walk.scanned = 0
    walk.training = True
    if walk.tested == walk.end:
        _note_round(walk)


def check(learner: Learner, walk: Walk, settings: Settings) -> None:
    """Test the next pairs of a further pass; one that fails is learnt, and tested again before the pass goes on."""
    left = _order_of_pass(walk)[walk.checked :]
    learner.expect(left)
    block = left[:PREDICTION_BATCH]
    scores = learner.verify(block).scores
    walk.pairs_scored += len(block)
    failures = np.flatnonzero(scores < settings.bar)
    passed = int(failures[0]) if failures.size else len(block)
    walk.scores[block[: passed + 1]] = scores[: passed + 1]
    walk.checked += passed
    if passed:
        walk.place_epochs = 0
    if failures.size and walk.place_epochs < settings.options.max_epochs:
        walk.training = walk.changed = True
        _fail(walk, int(block[passed]), float(scores[passed]))
    elif failures.size:  # it cannot be learnt: go on without it, and without a certificate from this pass
        walk.checked += 1
        walk.place_epochs = 0
    if walk.checked == walk.pool:
        _end_pass(walk, settings)


def _fail(walk: Walk, position: int, score: float) -> None:
    """The pair joins the core, if it is not there yet, and the training round that is due is its own."""
    places = [place for place, choice in enumerate(walk.chosen) if choice.position == position]
    if not places:
        walk.chosen.append(Choice(position, score))
    walk.failed = places[0] if places else len(walk.chosen) - 1


def _order_of_pass(walk: Walk) -> np.ndarray:
    """Positions as a further pass takes them: the core first, whose failures would spoil the pass at its end."""
    core = np.array([choice.position for choice in walk.chosen[: walk.core_before]])
    return np.concatenate([core, np.setdiff1d(np.arange(walk.pool), core)])


def _begin_pass(walk: Walk) -> None:
    walk.passes += 1
    walk.checked = walk.place_epochs = 0
    walk.core_before = len(walk.chosen)
    walk.training = walk.changed = walk.failed is not None  # the last pair of the first pass may be still to learn


def _end_pass(walk: Walk, settings: Settings) -> None:
    """A pass without training has tested every pair with the very weights that it leaves."""
    walk.added.append(len(walk.chosen) - walk.core_before)
    if not walk.changed:
        walk.certified = True
    elif walk.passes >= settings.options.max_passes:
        walk.certified = False
    else:
        _begin_pass(walk)


def _note_round(walk: Walk) -> None:
    tested = walk.tested if walk.passes == 1 else walk.end + walk.pool * (walk.passes - 2) + walk.checked
    walk.rounds.append(Round(tested, len(walk.chosen), walk.score, walk.loss, walk.epochs))


def _block_size(passed: int, settings: Settings) -> int:
    """Pairs to score at once: what lies behind a failure is scored in vain, and small blocks are slow.

    A quarter of what passed lately keeps the waste at about an eighth of the pairs walked.
    """
    return max(1, min(passed // 4, settings.batch_size))
