"""Pairs that stand for all others: each of the pool is to be near a chosen one (Mirchandani & Francis, 1990)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from stages.learning.protocol import Learner
from stages.strategies.shared.budget import BudgetState, NoOptions, rate, start, train_on
from stages.strategies.shared.strategy import Settings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Options", "choose", "start"]
Options = NoOptions

NEIGHBOURS = 256  # to which a pair is compared: memory grows with the pool, not with its square


def choose(learner: Learner, state: BudgetState, settings: Settings) -> Iterator[BudgetState]:
    """Choose in the space of the seed network's features, then train a fresh network."""
    if not state.budget:
        yield from rate(learner.features, learner, state)
    yield from train_on(_representatives(state.ratings, settings.budget.count), learner, state, settings)


def _representatives(features: np.ndarray, size: int) -> list[int]:
    """Positions, each in turn the one that brings the pool nearest to what is chosen."""
    if size == len(features):
        return list(range(size))
    from apricot import FacilityLocationSelection  # compiles its loops, which takes seconds

    # Its lazy search may take an equal of what is chosen, which gains nothing, before what would gain.
    selection = FacilityLocationSelection(size, metric="precomputed", optimizer="naive")
    positions: list[int] = selection.fit(_similarities(features)).ranking.tolist()
    return positions


def _similarities(features: np.ndarray) -> "csr_matrix":
    """How near each pair is to those around it: the largest distance found minus its own; of others it is 0."""
    from sklearn.neighbors import NearestNeighbors  # takes a second, which the other strategies need not wait for

    near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(features))).fit(features)
    similarities = near.kneighbors_graph(features, mode="distance")
    similarities.data = similarities.data.max() - similarities.data
    similarities.indices = similarities.indices.astype(np.int32)  # what apricot is compiled for
    similarities.indptr = similarities.indptr.astype(np.int32)
    return similarities
