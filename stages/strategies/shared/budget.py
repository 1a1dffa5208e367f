"""Strategies that rate the pool, choose a number of pairs, and train a fresh network on these for a budget."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import Field

from stages.learning.protocol import PREDICTION_BATCH, Learner
from stages.pairs.tables import Choice
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import INT_MAX, Section
from stages.strategies.shared.state import Progress, Round, State
from stages.strategies.shared.strategy import Pool, Settings

MOMENTS = 20  # whose weights make an average: with more of them it hardly changes


class NoOptions(Section):
    """The options of a strategy that has none."""


class RatingOptions(Section):
    """The options of a strategy that trains on the pool before it rates it."""

    rating_epochs: int = Field(ge=1, le=INT_MAX, description="epochs on the whole pool, before pairs are chosen")


@dataclass
class BudgetState(State):
    """How far such a choice has come.

    Attributes
    ----------
    rating_epochs : int
        Epochs on the whole pool so far.
    rated : int
        Rows of ``ratings`` that are found so far.
    ratings : ndarray of float32, shape (n, m)
        The values that pairs are chosen by, sweep by sweep over the pool.
    budget : int
        Training steps to do; 0 before the pairs are chosen.
    """

    rating_epochs: int = 0
    rated: int = 0
    ratings: np.ndarray = field(default_factory=lambda: np.empty((0, 1), np.float32), compare=False)
    budget: int = 0

    def progress(self) -> Progress:
        """Steps once there is a budget, pairs before."""
        whole = super().progress()
        return whole._replace(done=self.steps, total=self.budget, unit="step") if self.budget else whole

    def metrics(self) -> dict[str, Any]:
        """Figures with the epochs on the whole pool."""
        return {**super().metrics(), "rating_epochs": self.rating_epochs}


def start(pool: Pool, settings: Settings) -> BudgetState:
    """The state before anything is rated.

    Raises
    ------
    UserError
        If more pairs are to be chosen than there are.
    """
    count = settings.budget.count
    if count > pool.size:
        raise UserError(f"select.budget.count is {count}, allowed is at most {pool.size}, the pairs of the pool")
    return BudgetState(pool.size)


def rate(
    rating: Callable[[Sequence[int]], np.ndarray],
    learner: Learner,
    state: BudgetState,
    sweep: int = 0,
    sweeps: int = 1,
) -> Iterator[BudgetState]:
    """Rate all pairs of the pool, block by block, unless that is done.

    Parameters
    ----------
    rating : callable
        From n positions to their ratings, shape (n, m).
    learner : Learner
        Whose network rates.
    state : BudgetState
        The state; its ratings are filled in.
    sweep, sweeps : int
        Which sweep over the pool, counted from 0, of how many.
    """
    while state.rated < (sweep + 1) * state.pool:
        begin = state.rated - sweep * state.pool
        block = range(begin, min(begin + PREDICTION_BATCH, state.pool))
        learner.expect(range(begin, state.pool))
        found = rating(block)
        if not state.rated:
            state.ratings = np.empty((sweeps * state.pool, found.shape[1]), np.float32)
        state.ratings[state.rated : state.rated + len(block)] = found
        state.rated += len(block)
        state.tested = block.stop
        state.pairs_scored += len(block)
        yield state


def train_on_pool(epochs: int, learner: Learner, state: BudgetState) -> Iterator[BudgetState]:
    """Train on the whole pool until that many epochs are done, to rate its pairs then."""
    while state.rating_epochs < epochs:
        state.score, state.loss = learner.fit_epoch(range(state.pool))
        state.rating_epochs += 1
        yield state


def highest(values: np.ndarray, settings: Settings) -> list[int]:
    """Positions of the highest values, highest first; of equal ones it is drawn which come first."""
    drawn = np.random.default_rng(settings.seed).permutation(len(values))
    positions: list[int] = drawn[np.argsort(-values[drawn], kind="stable")][: settings.budget.count].tolist()
    return positions


def train_on(
    positions: Sequence[int], learner: Learner, state: BudgetState, settings: Settings
) -> Iterator[BudgetState]:
    """Make some pairs the core, unless that is done, and train a fresh network on it for the steps that are allowed."""
    budget = settings.budget
    if not state.budget:
        learner.renew()
        state.chosen = [Choice(position, None) for position in positions]
        state.tested = state.pool
        state.budget = budget.steps or budget.epochs * steps_of_epoch(state, settings)
        yield state
    moments = moments_to_remember(state.budget, budget.averaged)
    while state.steps < state.budget:
        left = state.budget - state.steps
        ahead = {moment - state.steps for moment in moments}
        state.score, state.loss = learner.fit_epoch(state.positions, left, ahead)
        state.pairs_trained += min(len(state.chosen), left * settings.batch_size)
        state.steps += min(left, steps_of_epoch(state, settings))
        state.epochs += 1
        state.rounds.append(Round(state.tested, len(state.chosen), state.score, state.loss, state.epochs))
        yield state
    learner.recall(state.positions)


def steps_of_epoch(state: State, settings: Settings) -> int:
    """Training steps of an epoch on the whole core."""
    return -(-len(state.chosen) // settings.batch_size)


def moments_to_remember(budget: int, averaged: float) -> set[int]:
    """Training steps, counted from 1, after which weights are taken into the average: evenly spaced, up to the last."""
    return {budget - round(part / MOMENTS * averaged * budget) for part in range(MOMENTS)} if averaged else set()
