"""Pairs drawn at random, a part of them among those with foreground (Lüth et al., *nnActive*, 2025)."""

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from stages.learning.protocol import Learner
from stages.pipeline.params.sections import Section
from stages.strategies.shared.budget import BudgetState, rate, start, train_on
from stages.strategies.shared.strategy import Settings

__all__ = ["Options", "choose", "start"]


class Options(Section):
    """How many are drawn among pairs with foreground."""

    share: float = Field(ge=0, le=1, description="share of the chosen pairs that is drawn among those with foreground")


def choose(learner: Learner, state: BudgetState, settings: Settings) -> Iterator[BudgetState]:
    """Look at all masks, draw, then train a fresh network."""
    if not state.budget:
        yield from rate(learner.shapes, learner, state)
    yield from train_on(_drawn(state.ratings[:, 0] > 0, settings), learner, state, settings)


def _drawn(has_foreground: np.ndarray, settings: Settings) -> list[int]:
    """Positions of the guaranteed part, and of the rest, drawn from all others."""
    draw, count = np.random.default_rng(settings.seed), settings.budget.count
    guaranteed = draw.permutation(np.flatnonzero(has_foreground))[: round(settings.options.share * count)]
    others = draw.permutation(np.setdiff1d(np.arange(len(has_foreground)), guaranteed))
    chosen: list[int] = np.concatenate([guaranteed, others])[:count].tolist()
    return sorted(chosen)
