"""Pairs drawn at random: the choice that any other has to beat."""

from collections.abc import Iterator

import numpy as np

from stages.learning.protocol import Learner
from stages.strategies.shared.budget import BudgetState, NoOptions, start, train_on
from stages.strategies.shared.strategy import Settings

__all__ = ["Options", "choose", "start"]
Options = NoOptions


def choose(learner: Learner, state: BudgetState, settings: Settings) -> Iterator[BudgetState]:
    """Train on a number of pairs, each as likely as any other."""
    drawn = np.random.default_rng(settings.seed).permutation(state.pool)[: settings.budget.count]
    return train_on(sorted(drawn.tolist()), learner, state, settings)
