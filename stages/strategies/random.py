"""Pairs drawn at random: what any other choice has to beat."""

from collections.abc import Iterator

import numpy as np

from stages.strategies import Learner, Settings, Walk, require_size, train_on


def choose(learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]:
    """Train on ``settings.size`` pairs, each as likely as any other."""
    require_size(walk, settings)
    drawn = np.random.default_rng(settings.seed).permutation(walk.pool)[: settings.size]
    return train_on(sorted(drawn.tolist()), learner, walk, settings)
