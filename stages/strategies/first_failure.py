"""The article's walk: whatever the network cannot predict yet joins the core, and is learnt before the walk goes on.

The article walks the pool once and claims that every pair of it is predicted well in the end. Further passes make
that true: they end with one that finds no failure, and so proves the claim for the weights that it leaves.
"""

from collections.abc import Iterator

import numpy as np

from stages.strategies import Choice, Learner, Round, Settings, Walk, steps_of_epoch


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
        if settings.max_passes > 1:
            _begin_pass(walk)
    while walk.passes > 1 and walk.certified is None:
        if walk.training:
            train(learner, walk, settings)
        else:
            check(learner, walk, settings)
        yield walk


def train(learner: Learner, walk: Walk, settings: Settings) -> None:
    """One epoch on the core; it ends the round if its score is good enough or the round has lasted too long."""
    epoch = learner.fit_epoch([choice.position for choice in walk.chosen])
    walk.score, walk.loss = epoch
    walk.epochs += 1
    walk.round_epochs += 1
    walk.place_epochs += 1
    walk.pairs_trained += len(walk.chosen)
    walk.steps += steps_of_epoch(walk, settings)
    if walk.failed is not None:
        walk.chosen[walk.failed].epochs += 1
    learnt = epoch.score > settings.precision
    if learnt or walk.round_epochs >= settings.max_epochs:
        walk.stalled_rounds += not learnt
        walk.training = False
        walk.round_epochs = 0
        walk.failed = None
        _note_round(walk)


def scan(learner: Learner, walk: Walk, settings: Settings) -> None:
    """Test the next pairs of a scan; a failure or the most pairs of a scan end it, and a training round is due."""
    stop = min(walk.tested - walk.scanned + settings.scan_size, walk.end)
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
    block = _order_of_pass(walk)[walk.checked : walk.checked + settings.check_size]
    scores = learner.verify(block)
    walk.pairs_scored += len(block)
    failures = np.flatnonzero(scores < settings.bar)
    passed = int(failures[0]) if failures.size else len(block)
    walk.scores[block[: passed + 1]] = scores[: passed + 1]
    walk.checked += passed
    if passed:
        walk.place_epochs = 0
    if failures.size and walk.place_epochs < settings.max_epochs:
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
    elif walk.passes >= settings.max_passes:
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
