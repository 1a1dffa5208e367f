"""Coverage-centric selection (Zheng et al., 2023): as many pairs of each difficulty, but for the hardest."""

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from stages.learning.protocol import Learner
from stages.pipeline.params.sections import INT_MAX
from stages.strategies.shared.budget import BudgetState, RatingOptions, rate, start, train_on, train_on_pool
from stages.strategies.shared.strategy import Settings

__all__ = ["Options", "choose", "start"]


class Options(RatingOptions):
    """How pairs are rated and in how many strata they are drawn."""

    strata: int = Field(ge=1, le=INT_MAX, description="ranges of difficulty, of one width")
    hardest: float = Field(ge=0, lt=1, description="share of the pairs, the hardest, that is left out")


def choose(learner: Learner, state: BudgetState, settings: Settings) -> Iterator[BudgetState]:
    """Rate pairs as strategy ``el2n`` does, draw from each stratum, then train a fresh network."""
    if not state.budget:
        yield from train_on_pool(settings.options.rating_epochs, learner, state)
        yield from rate(learner.error_norm, learner, state)
    yield from train_on(_drawn(state.ratings[:, 0], settings), learner, state, settings)


def _drawn(difficulty: np.ndarray, settings: Settings) -> list[int]:
    """Positions of all pairs of a stratum, or of its share of those that are still to choose."""
    options, count = settings.options, settings.budget.count
    kept = max(count, round((1 - options.hardest) * len(difficulty)))
    easier = np.argsort(difficulty, kind="stable")[:kept]
    edges = np.linspace(difficulty[easier[0]], difficulty[easier[-1]], options.strata + 1)[1:-1]
    stratum_of = np.searchsorted(edges, difficulty[easier], side="right")
    strata = [easier[stratum_of == number] for number in range(options.strata)]
    draw = np.random.default_rng(settings.seed)
    chosen: list[int] = []
    # The smallest first: what a stratum has too little falls to those behind it.
    for left, stratum in zip(range(options.strata, 0, -1), sorted(strata, key=len), strict=True):
        share = (count - len(chosen)) // left
        chosen += draw.choice(stratum, min(share, len(stratum)), replace=False).tolist()
    return chosen
