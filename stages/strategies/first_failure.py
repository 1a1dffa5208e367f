"""The article's walk: whatever the network cannot predict yet joins the core, and is learnt before the walk goes on."""

from collections.abc import Iterator

import numpy as np

from stages.strategies import Choice, Learner, Settings, Walk


def choose(learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]:
    """Scan up to the first failure, train on all that is chosen until it is learnt, and so on to the pool's end.

    The scan that tests the last pair ends the walk: if that pair failed, it is chosen and never trained on.
    """
    while walk.tested < walk.pool:
        if walk.training:
            train(learner, walk, settings)
        else:
            scan(learner, walk, settings)
        yield walk


def train(learner: Learner, walk: Walk, settings: Settings) -> None:
    """One epoch on the core; it ends the round if its score is good enough or the round has lasted too long."""
    epoch = learner.fit_epoch([choice.position for choice in walk.chosen])
    walk.score, walk.loss = epoch
    walk.epochs += 1
    walk.round_epochs += 1
    walk.pairs_trained += len(walk.chosen)
    if walk.chosen[-1].position == walk.tested - 1:  # else the last scan found no failure
        walk.chosen[-1].epochs += 1
    learnt = epoch.score > settings.precision
    if learnt or walk.round_epochs >= settings.max_epochs:
        walk.stalled_rounds += not learnt
        walk.training = False
        walk.round_epochs = 0


def scan(learner: Learner, walk: Walk, settings: Settings) -> None:
    """Test pairs in their order, up to the first that fails; a training round is due after it."""
    stop = min(walk.tested + settings.scan_size, walk.pool)
    walk.training = True
    passed = 0
    while walk.tested < stop:
        block = range(walk.tested, min(walk.tested + _block_size(walk.passed + passed, settings), stop))
        scores = learner.score(block)
        walk.pairs_scored += len(block)
        failures = np.flatnonzero(scores < settings.bar)
        if failures.size:
            first = int(failures[0])
            walk.tested = block[first] + 1
            walk.chosen.append(Choice(block[first], float(scores[first])))
            walk.passed = passed + first
            return
        walk.tested = block.stop
        passed += len(block)
    walk.passed += passed


def _block_size(passed: int, settings: Settings) -> int:
    """Pairs to score at once: what lies behind a failure is scored in vain, and small blocks are slow.

    A quarter of what passed lately keeps the waste at about an eighth of the pairs walked.
    """
    return max(1, min(passed // 4, settings.batch_size))
