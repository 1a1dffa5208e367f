"""Pairs that leave no other far from a chosen one (greedy k-center; Gonzalez, 1985, and Sener & Savarese, 2018)."""

from collections.abc import Iterator

import numpy as np

from stages.learning.protocol import Learner
from stages.strategies.shared.budget import BudgetState, NoOptions, rate, start, train_on
from stages.strategies.shared.strategy import Settings

__all__ = ["Options", "choose", "start"]
Options = NoOptions


def choose(learner: Learner, state: BudgetState, settings: Settings) -> Iterator[BudgetState]:
    """Choose in the space of the seed network's features, from the seed pairs on, then train a fresh network."""
    if not state.budget:
        yield from rate(learner.features, learner, state)
    yield from train_on(_spread(state.ratings, settings.seeds, settings.budget.count), learner, state, settings)


def _spread(features: np.ndarray, seeds: int, size: int) -> list[int]:
    """The first positions, then again and again the one that is furthest from all that are chosen."""
    chosen = list(range(min(seeds, size)))
    distances = np.full(len(features), np.inf)
    features = features - features.mean(axis=0)  # small numbers lose less in the difference below
    lengths = np.einsum("nm,nm->n", features, features)
    for place in range(size):
        if place == len(chosen):
            chosen.append(int(np.argmax(distances)))
        # |a − b|² = |a|² − 2ab + |b|²: no copy of all features for each that is chosen.
        centre = features[chosen[place]]
        distances = np.minimum(distances, lengths - 2 * (features @ centre) + centre @ centre)
        distances[chosen[place]] = -np.inf  # equal pairs are chosen once each
    return chosen
