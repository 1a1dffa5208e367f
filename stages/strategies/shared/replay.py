"""Draws from the core, keyed by the step alone, and training steps on them."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from stages.learning.protocol import Epoch, Learner
from stages.strategies.shared.state import State
from stages.strategies.shared.strategy import Settings

Choosing = TypeVar("Choosing", bound=State)


def replay(
    learner: Learner, state: State, settings: Settings, new: Sequence[int], size: int, rate: float = 1.0
) -> Epoch:
    """Train one step on new pairs of the core and on a draw of its others.

    Parameters
    ----------
    new : sequence of int
        Positions that the step has to train on, as they are stored: so they are learnt soonest. The others are
        augmented.
    size : int
        Pairs of the step, if there are as many.
    rate : float
        Share of ``training.learning_rate``.

    Returns
    -------
    Epoch
        Score and loss of these pairs before the step.
    """
    batch = [*new, *draw(state, settings, size - len(new), new)]
    epoch = learner.fit_step(batch, rate, len(new))
    state.score, state.loss = epoch
    state.steps += 1
    state.pairs_trained += len(batch)
    return epoch


def draw(state: State, settings: Settings, count: int, without: Sequence[int] = ()) -> list[int]:
    """Positions of as many pairs of the core, or of all that there are, without some; keyed by the step alone."""
    found = np.setdiff1d(state.positions, without)
    count = min(max(0, count), len(found))
    drawn: list[int] = np.random.default_rng((settings.seed, state.steps)).choice(found, count, replace=False).tolist()
    return drawn


def retrain(learner: Learner, state: Choosing, settings: Settings, size: int, rate: float = 1.0) -> Iterator[Choosing]:
    """Train a fresh network on the core, for ``select.retrain`` steps of a size at a share of the learning rate."""
    if not state.retrained:
        learner.renew()
    while state.retrained < settings.retrain:
        replay(learner, state, settings, [], size, rate)
        state.retrained += 1
        yield state
