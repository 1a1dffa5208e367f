"""Pick-to-Learn on a learner whose answers depend on all it has learnt."""

import copy
import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.learning.protocol import PREDICTION_BATCH, Epoch, Verified
from stages.pipeline.params.sections import BudgetParams
from stages.strategies.pick_to_learn import Options, begin_pass, choose, start
from stages.strategies.shared.picks import Picks
from stages.strategies.shared.strategy import Settings
from tests.toys import Toy, ToyPool

SEEDS = 2


@dataclass
class Named(Toy):
    """A learner that knows pairs by their names; each step throws its dice anew, and a step on a pair helps it.

    Attributes
    ----------
    names : sequence of int
        The name of the pair at each position.
    steps : list of tuple of int
        Names of the pairs of each training step.
    statistics : tuple of int
        Names of the pairs whose statistics scores depend on.
    """

    names: Sequence[int]
    seed: int = 0
    talent: float = 0.8
    diligence: float = 0.7
    steps: list[tuple[int, ...]] = field(default_factory=list)
    history: int = 0
    statistics: tuple[int, ...] = ()

    def fit_step(self, positions: Sequence[int], rate: float = 1.0, as_stored: int = 0) -> Epoch:
        self.estimate(positions)
        names = self.statistics
        self.steps.append(names)
        self.history = zlib.crc32(repr((names, rate, as_stored)).encode(), self.history)
        throw = random.Random(f"{self.seed} {self.history}")
        return Epoch(throw.uniform(0.9, 1.1) if throw.random() < self.diligence else throw.uniform(0.5, 0.9), 0.1)

    def estimate(self, positions: Sequence[int]) -> None:
        self.statistics = tuple(self.names[position] for position in positions)

    def score(self, positions: Sequence[int]) -> np.ndarray:
        return np.array([self._score_of(self.names[position]) for position in positions])

    def verify(self, positions: Sequence[int] | np.ndarray) -> Verified:
        assert len(positions) <= PREDICTION_BATCH
        scores = self.score([int(position) for position in positions])
        return Verified(scores, np.minimum(scores, 1), 1 - scores, np.stack([scores, -scores], axis=1))

    def renew(self) -> None:
        self.steps.append(())
        self.history = 0

    def _score_of(self, name: int) -> float:
        throw = random.Random(f"{self.seed} {self.history} {self.statistics} {name}")
        learnt = 1 - (1 - self.talent) * 0.98 ** len(self.steps)
        return throw.uniform(0.8, 1.1) if throw.random() < learnt else throw.uniform(0, 0.8)


def settings_of(
    failures: int = 2,
    replay_size: int = 6,
    max_steps: int = 8,
    max_passes: int = 30,
    retrain: int = 0,
    suspect_below: float = 0.0,
) -> Settings:
    options = Options(
        failures=failures, replay_size=replay_size, half_rate_at=20, max_steps=max_steps, max_passes=max_passes
    )
    budget = BudgetParams(count=1, epochs=1, steps=None, averaged=0.0)
    return Settings(0.85, 0.8, 0.95, suspect_below, 10, SEEDS, 0, budget, retrain, options)


def picked(learner: Named, settings: Settings) -> Picks:
    """Choose to the end."""
    state = start(ToyPool(len(learner.names)), settings)
    for _ in choose(learner, state, settings):
        pass
    return state


learners = st.builds(
    lambda size, *dice: Named(range(size), *dice),
    st.integers(SEEDS, 150),
    st.integers(0, 10**9),
    st.floats(0.5, 1),
    st.floats(0.3, 1),
)
all_settings = st.builds(
    settings_of,
    st.integers(1, 4),
    st.integers(2, 12),
    st.integers(1, 8),
    st.integers(1, 30),
    st.sampled_from([0, 0, 5]),
    st.sampled_from([0.0, 0.4]),
)


@given(learners, all_settings, st.data())
def test_leaving_out_pairs_that_were_never_chosen_changes_nothing(
    learner: Named, settings: Settings, data: st.DataObject
) -> None:
    """The assumption of the bound."""
    again = copy.deepcopy(learner)
    state = picked(learner, settings)
    others = sorted(set(range(state.pool)) - set(state.positions))
    left_out = data.draw(st.sets(st.sampled_from(others))) if others else set()
    again.names = [name for name in range(state.pool) if name not in left_out]
    smaller = picked(again, settings)
    assert [again.names[position] for position in smaller.positions] == state.positions
    assert again.steps == learner.steps
    assert smaller.number == state.number


@given(learners, all_settings)
def test_a_certified_core_is_one_whose_network_predicts_all_other_pairs(learner: Named, settings: Settings) -> None:
    state = picked(learner, settings)
    others = sorted(set(range(state.pool)) - set(state.positions))
    scores = learner.score(others)
    failing = [pair for pair, score in zip(others, scores, strict=True) if score < settings.bar]
    set_aside = [pair for pair, score in zip(others, scores, strict=True) if score < settings.suspect_below]
    assert state.set_aside().tolist() == set_aside
    assert sorted([*state.failing, *set_aside]) == failing
    assert state.certified == (not state.failing)
    np.testing.assert_array_equal(state.scores[others], scores)
    verified, fits = state.verified()
    np.testing.assert_array_equal(verified, others)
    np.testing.assert_array_equal(fits, np.stack([scores, -scores], axis=1) if others else fits[:0])
    assert state.passes == len(state.added) <= settings.options.max_passes * (1 + state.fresh)
    assert max(state.added[1:], default=0) <= settings.options.failures  # a later pass ends with its first round
    assert state.retrained == settings.retrain
    assert len(state.chosen) == SEEDS + sum(state.added)
    figures = state.metrics()
    assert figures["bound"]["chosen"] == len(state.chosen) - SEEDS + len(failing)
    assert all(choice.score is None or choice.score >= settings.suspect_below for choice in state.chosen)


@given(learners, all_settings)
def test_a_step_trains_on_the_new_pairs_and_on_others_of_the_core_once_each(learner: Named, settings: Settings) -> None:
    state = picked(learner, settings)
    place = {choice.position: order for order, choice in enumerate(state.chosen)}
    sizes = []
    newest = retraining = 0  # place of the pair that joined last; steps that train a fresh network on draws alone
    for names in learner.steps:
        assert len(set(names)) == len(names) <= max(settings.options.replay_size, settings.options.failures)
        newest = max([newest, *(place[name] for name in names)])
        assert retraining or not names or newest in [place[name] for name in names]
        retraining = max(0, retraining - 1) if names else settings.retrain  # no names: the network was renewed
        sizes.append(len(names))
    assert (state.steps, state.pairs_trained) == (sum(size > 0 for size in sizes), sum(sizes))
    assert sum(choice.epochs for choice in state.chosen) >= state.steps - state.retrained
    assert len(state.rounds) == state.number - state.fresh >= state.stalled_rounds


@given(learners, all_settings, st.randoms(use_true_random=False))
def test_a_choice_goes_on_from_a_copy_of_any_step_to_the_same_end(
    learner: Named, settings: Settings, any_step: random.Random
) -> None:
    straight = copy.deepcopy(learner)
    expected = picked(straight, settings)
    state = start(ToyPool(len(learner.names)), settings)
    for _ in choose(learner, state, settings):
        if any_step.random() < 0.1:
            break
    resumed = state.restored(json.loads(json.dumps(state.plain())), state.arrays())
    for _ in choose(learner, resumed, settings):
        pass
    assert resumed == expected
    np.testing.assert_array_equal(resumed.scores, expected.scores)
    assert learner.steps == straight.steps


def test_a_later_pass_begins_with_the_pairs_that_scored_lowest_and_among_these_with_the_least_close() -> None:
    state = start(ToyPool(6), settings_of())
    state.passes, state.number = 1, 3
    state.scores[:] = [np.nan, np.nan, 0.9, 0.85, 0.9, 1.0]
    state.tested_with[:] = [-1, -1, 2, 2, 2, 3]
    state.closeness[2:5] = 0.93, 0.89, 0.91
    begin_pass(state, settings_of())
    assert state.queue.tolist() == [3, 4, 2]


class Split(Toy):
    """A learner that knows even pairs from the second step on, and no odd one ever."""

    def __init__(self) -> None:
        self.steps = 0

    def fit_step(self, positions: Sequence[int], rate: float = 1.0, as_stored: int = 0) -> Epoch:
        self.steps += 1
        return Epoch(1.0, 0.0)

    def estimate(self, positions: Sequence[int]) -> None:
        """Nothing depends on it."""

    def score(self, positions: Sequence[int]) -> np.ndarray:
        return np.array([0.1 if position % 2 else min(1.0, 0.5 + self.steps / 2) for position in positions])

    def verify(self, positions: Sequence[int] | np.ndarray) -> Verified:
        scores = self.score([int(position) for position in positions])
        return Verified(scores, scores, 1 - scores, scores[:, None])


def test_pairs_that_fail_by_far_to_the_end_are_set_aside_and_named_where_they_are_many() -> None:
    settings = settings_of(failures=1, suspect_below=0.4)
    state = start(ToyPool(10), settings)
    for _ in choose(Split(), state, settings):
        pass
    assert state.positions == [0, 1, 2]
    assert state.set_aside().tolist() == [3, 5, 7, 9]
    figures = state.metrics()
    assert (figures["certified"], figures["failing"], figures["set_aside"]) == (True, 0, 4)
    assert figures["bound"]["chosen"] == 1 + 4
    assert any("4 of 10 pairs were set aside" in line for line in state.warnings())
