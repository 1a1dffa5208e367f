"""The walk against the article's loop, told again literally, on a learner whose answers depend on all it has learnt."""

import copy
import dataclasses
import itertools
import json
import random
import zlib
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.learning.protocol import Epoch, Verified
from stages.pairs.tables import Choice
from stages.pipeline.params.sections import BudgetParams
from stages.strategies.first_failure import Options, Walk, choose, start
from stages.strategies.shared.strategy import Settings, strategy_of
from tests.toys import Toy, ToyPool


@dataclass
class ToyLearner(Toy):
    """Answers like a die that is thrown anew after every epoch and for every pair; the same history, the same throws.

    Attributes
    ----------
    seed : int
        Of the throws.
    talent : float
        Share of pairs that it predicts well after much training.
    diligence : float
        Share of epochs that end with a good score.
    trained : list of tuple of int
        The pairs of each epoch.
    scored : list of range or sequence of int
        The pairs of each call for scores.
    history : int
        A digest of all the epochs.
    """

    seed: int = 0
    talent: float = 0.8
    diligence: float = 0.5
    trained: list[tuple[int, ...]] = field(default_factory=list)
    scored: list[Sequence[int]] = field(default_factory=list)
    history: int = 0

    def fit_epoch(self, positions: Sequence[int], steps: int | None = None, remember: Container[int] = ()) -> Epoch:
        assert steps is None  # the walk trains on all that is chosen
        self.trained.append(tuple(positions))
        self.history = zlib.crc32(repr(positions).encode(), self.history)
        throw = self._throw("epoch")
        score = throw.uniform(0.8, 1.1) if throw.random() < self.diligence else throw.uniform(0, 0.8)
        return Epoch(score, throw.random())

    def score(self, positions: Sequence[int]) -> np.ndarray:
        self.scored.append(positions)
        return np.array([self.score_of(position) for position in positions])

    def verify(self, positions: Sequence[int] | np.ndarray) -> Verified:
        scores = self.score([int(position) for position in positions])
        return Verified(scores, scores, 1 - scores, scores[:, None])

    def score_of(self, position: int) -> float:
        throw = self._throw(position)
        learnt = self.talent * (1 - 0.9 ** len(self.trained))
        return throw.uniform(0.8, 1.1) if throw.random() < learnt else throw.uniform(0, 0.8)

    def _throw(self, what: object) -> random.Random:
        return random.Random(f"{self.seed} {self.history} {what}")


def settings_of(
    precision: float, bar: float, scan_size: int, batch_size: int, max_epochs: int, max_passes: int = 1, seeds: int = 1
) -> Settings:
    """The settings of a walk; with one pass it asks for no certificate."""
    passes: Any = "until_certified" if max_passes > 1 else 1
    options = Options(scan_size=scan_size, max_epochs=max_epochs, passes=passes, max_passes=max(2, max_passes))
    budget = BudgetParams(count=1, epochs=1, steps=None, averaged=0.0)
    return Settings(precision, bar, 0.999, 0.0, batch_size, seeds, 0, budget, 0, options)


def with_passes(settings: Settings, passes: int) -> Settings:
    """The same settings with another number of passes."""
    options = settings.options
    return settings_of(
        settings.precision, settings.bar, options.scan_size, settings.batch_size, options.max_epochs, passes
    )


def begun(pool: int, seeds: int) -> Walk:
    """A walk from the seed pairs."""
    return start(ToyPool(pool), settings_of(0.5, 0.5, 1, 1, 1, seeds=seeds))


@dataclass(frozen=True)
class Case:
    """A walk to be done."""

    learner: ToyLearner
    pool: int
    seeds: int
    settings: Settings

    def walk(self) -> tuple[Walk, ToyLearner]:
        """Do it; the end of it and the learner then."""
        learner = copy.deepcopy(self.learner)
        walk = begun(self.pool, self.seeds)
        for _ in choose(learner, walk, self.settings):
            pass
        return walk, learner


cases = st.builds(
    lambda learner, seeds, rest, options: Case(learner, seeds + rest, seeds, options),
    st.builds(ToyLearner, st.integers(0, 10**9), st.floats(0, 1), st.floats(0.05, 1)),
    st.integers(1, 5),
    st.integers(1, 60),
    st.builds(
        settings_of,
        precision=st.floats(0.1, 1.05),
        bar=st.floats(0.1, 1.05),
        scan_size=st.integers(1, 40),
        batch_size=st.integers(1, 12),
        max_epochs=st.integers(1, 6),
    ),
)
certified_cases = st.builds(
    lambda case, passes: dataclasses.replace(case, settings=with_passes(case.settings, passes)),
    cases,
    st.integers(2, 6),
)


@dataclass
class Told:
    """How the article's loop ended."""

    chosen: list[int]
    scores: list[float]
    tested: int
    rounds: int
    stalled: int
    last_score: float


def article_s_loop(learner: ToyLearner, pool: int, seeds: int, options: Settings) -> Told:
    """Flags and all: a scan predicts all of its rows at once and is read up to the first failure."""
    selected = [position < seeds for position in range(pool)]
    told = Told(list(range(seeds)), [], seeds, 0, 0, float("nan"))
    must_train, epochs_of_round = False, 0
    while True:
        if must_train:
            told.last_score, _ = learner.fit_epoch([position for position in range(pool) if selected[position]])
            epochs_of_round += 1
            if told.last_score > options.precision or epochs_of_round == options.options.max_epochs:
                told.stalled += told.last_score <= options.precision
                must_train, epochs_of_round = False, 0
        else:
            predicted = learner.score(range(told.tested, min(told.tested + options.options.scan_size, pool)))
            read = 0
            for score in predicted:
                read += 1
                if score < options.bar:
                    failure = told.tested + read - 1
                    selected[failure] = True
                    told.chosen.append(failure)
                    told.scores.append(float(score))
                    break
            told.tested += read
            must_train = True
            told.rounds += 1
        if told.tested >= pool:
            return told


@given(cases)
def test_the_walk_is_the_article_s_loop(case: Case) -> None:
    literal = copy.deepcopy(case.learner)
    told = article_s_loop(literal, case.pool, case.seeds, case.settings)
    walk, learner = case.walk()
    assert [choice.position for choice in walk.chosen] == told.chosen
    assert [choice.score for choice in walk.chosen] == [None] * case.seeds + told.scores
    assert learner.trained == literal.trained
    assert walk.tested == told.tested == walk.pool
    assert walk.stalled_rounds == told.stalled
    assert walk.score == told.last_score or not learner.trained


@given(cases)
def test_the_counts_of_work_are_those_of_the_work_done(case: Case) -> None:
    walk, learner = case.walk()
    assert walk.epochs == len(learner.trained)
    assert walk.pairs_trained == sum(map(len, learner.trained))
    assert walk.pairs_scored == sum(map(len, learner.scored))


@given(cases)
def test_little_is_scored_in_vain_and_never_more_at_once_than_a_batch(case: Case) -> None:
    walk, learner = case.walk()
    walked = case.pool - case.seeds
    assert walked <= walk.pairs_scored <= 1.5 * walked
    assert max(map(len, learner.scored)) <= case.settings.batch_size


def test_blocks_grow_to_the_batch_where_nothing_fails() -> None:
    case = Case(ToyLearner(), 5000, 10, settings_of(0.5, 0.0, 1024, 50, 1))
    walk, learner = case.walk()
    assert len(walk.chosen) == 10
    assert walk.pairs_scored == 4990
    assert len(learner.scored) < 140


@given(cases)
def test_epochs_belong_to_the_pair_whose_failure_led_to_them(case: Case) -> None:
    walk, learner = case.walk()
    last_pairs = [positions[-1] for positions in learner.trained]
    assert all(choice.epochs == 0 for choice in walk.chosen[: case.seeds])
    for choice in walk.chosen[case.seeds :]:
        assert choice.epochs <= last_pairs.count(choice.position)
        assert choice.epochs >= (choice.position != case.pool - 1)
        assert choice.epochs <= case.settings.options.max_epochs
    if case.settings.options.scan_size >= case.pool:  # then every training round follows a failure
        assert sum(choice.epochs for choice in walk.chosen) == walk.epochs


@given(cases | certified_cases, st.data())
def test_a_walk_goes_on_from_a_copy_of_any_step_to_the_same_end(case: Case, data: st.DataObject) -> None:
    learner, walk = copy.deepcopy(case.learner), begun(case.pool, case.seeds)
    steps = sum(1 for _ in choose(learner, walk, case.settings))
    then, stopped = copy.deepcopy(case.learner), begun(case.pool, case.seeds)
    for _ in itertools.islice(choose(then, stopped, case.settings), data.draw(st.integers(1, steps))):
        pass
    resumed = stopped.restored(json.loads(json.dumps(stopped.plain())), stopped.arrays())
    for _ in choose(then, resumed, case.settings):
        pass
    assert repr(resumed) == repr(walk)
    assert then.trained == learner.trained


@given(cases)
def test_every_epoch_and_every_block_of_a_scan_is_a_step(case: Case) -> None:
    learner, walk = copy.deepcopy(case.learner), begun(case.pool, case.seeds)
    before = (0, 0)
    for step in choose(learner, walk, case.settings):
        assert step is walk
        scored, trained = len(learner.scored) - before[0], walk.epochs - before[1]
        assert (scored, trained) in ((1, 0), (0, 1))
        before = (len(learner.scored), walk.epochs)


class Diligent(ToyLearner):
    """Fails on some pairs however much it trains, and ends every epoch with one score."""

    def __init__(self, failing: set[int], epoch_score: float = 1.0) -> None:
        super().__init__()
        self.failing = failing
        self.epoch_score = epoch_score

    def fit_epoch(self, positions: Sequence[int], steps: int | None = None, remember: Container[int] = ()) -> Epoch:
        assert steps is None  # the walk trains on all that is chosen
        self.trained.append(tuple(positions))
        return Epoch(self.epoch_score, 0.1)

    def score_of(self, position: int) -> float:
        return 0.5 if position in self.failing else 0.9


def plain_walk(
    learner: Diligent, pool: int, seeds: int = 2, scan_size: int = 1024, precision: float = 0.85
) -> tuple[list[Choice], Walk]:
    walk = begun(pool, seeds)
    for _ in choose(learner, walk, settings_of(precision, 0.8, scan_size, 50, max_epochs=3)):
        pass
    return walk.chosen[seeds:], walk


def test_the_last_pair_is_chosen_if_it_fails_and_never_trained_on() -> None:
    learner = Diligent({4, 9})
    chosen, walk = plain_walk(learner, pool=10)
    assert chosen == [Choice(4, 0.5, epochs=1), Choice(9, 0.5, epochs=0)]
    assert learner.trained == [(0, 1, 4)]
    assert walk.score is not None


def test_a_scan_that_passes_to_the_end_ends_the_walk_without_training() -> None:
    learner = Diligent(set())
    chosen, walk = plain_walk(learner, pool=10)
    assert chosen == []
    assert learner.trained == []
    assert walk.tested == 10


def test_a_scan_without_a_failure_is_followed_by_training_too() -> None:
    learner = Diligent({7})
    chosen, walk = plain_walk(learner, pool=12, scan_size=3)
    assert learner.trained == [(0, 1), (0, 1, 7), (0, 1, 7)]  # after scans of 2…4, 5…7 and 8…10
    assert chosen == [Choice(7, 0.5, epochs=1)]
    assert walk.epochs == 3


@pytest.mark.parametrize(("epoch_score", "epochs", "stalled"), [(0.86, 1, 0), (0.85, 3, 1), (0.2, 3, 1)])
def test_a_round_ends_above_precision_or_stalls_after_its_most_epochs(
    epoch_score: float, epochs: int, stalled: int
) -> None:
    chosen, walk = plain_walk(Diligent({4}, epoch_score), pool=10)
    assert chosen == [Choice(4, 0.5, epochs)]
    assert walk.stalled_rounds == stalled
    assert walk.tested == 10


def test_a_score_at_the_bar_passes() -> None:
    walk = begun(5, 1)
    for _ in choose(Diligent({3}), walk, settings_of(0.5, 0.5, 10, 10, 1)):
        pass
    assert len(walk.chosen) == 1


def test_a_pool_of_seeds_alone_is_walked_at_once() -> None:
    learner = Diligent({0})
    chosen, walk = plain_walk(learner, pool=2)
    assert not chosen
    assert not learner.trained
    assert not learner.scored
    assert walk.tested == 2


def test_the_strategy_is_found_by_its_name() -> None:
    assert strategy_of("first_failure").choose is choose


@given(cases)
def test_the_course_of_a_walk_is_a_line_a_training_round_and_one_for_its_end(case: Case) -> None:
    walk, _ = case.walk()
    assert walk.rounds[-1] == (walk.tested, len(walk.chosen), walk.score, walk.loss, walk.epochs)
    assert [each.tested for each in walk.rounds] == sorted({each.tested for each in walk.rounds})
    assert walk.added == [len(walk.chosen) - case.seeds]
    assert walk.certified is None


@given(certified_cases)
def test_a_certificate_is_what_a_fresh_test_of_every_pair_finds(case: Case) -> None:
    walk, learner = case.walk()
    found = learner.score(range(case.pool))
    if walk.certified:
        assert (found >= case.settings.bar).all()
    assert walk.certified is not None
    assert walk.passes <= case.settings.options.max_passes
    assert len(walk.added) == walk.passes
    assert sum(walk.added) == len(walk.chosen) - case.seeds
    assert len({choice.position for choice in walk.chosen}) == len(walk.chosen)


@given(certified_cases)
def test_the_first_pass_does_not_know_of_those_to_come(case: Case) -> None:
    alone, learner = Case(case.learner, case.pool, case.seeds, with_passes(case.settings, 1)).walk()
    walk, longer = case.walk()
    assert walk.added[0] == alone.added[0]
    assert walk.chosen[: len(alone.chosen)] == [
        Choice(choice.position, choice.score, mine.epochs)
        for choice, mine in zip(alone.chosen, walk.chosen, strict=False)
    ]
    assert longer.trained[: len(learner.trained)] == learner.trained


class Forgetful(Diligent):
    """Fails on each of some pairs until it has trained some more epochs, from a given epoch on."""

    def __init__(self, fails_from: dict[int, int], lasting: int = 1) -> None:
        super().__init__(set())
        self.fails_from = fails_from
        self.lasting = lasting

    def score_of(self, position: int) -> float:
        since = len(self.trained) - self.fails_from.get(position, 10**9)
        return 0.5 if 0 <= since < self.lasting else 0.9


def certified_walk(learner: Diligent, pool: int, max_passes: int = 10, max_epochs: int = 3) -> Walk:
    walk = begun(pool, 2)
    for _ in choose(learner, walk, settings_of(0.85, 0.8, 1024, 50, max_epochs, max_passes)):
        pass
    return walk


def test_a_rejected_pair_that_fails_later_joins_the_core_and_all_are_tested_again() -> None:
    learner = Forgetful({5: 0, 3: 1})  # 3 passes in the first scan and fails once 5 was learnt
    walk = certified_walk(learner, pool=8)
    assert [(choice.position, choice.epochs) for choice in walk.chosen[2:]] == [(5, 1), (3, 1)]
    assert (walk.certified, walk.passes, walk.added) == (True, 3, [1, 1, 0])
    assert learner.trained == [(0, 1, 5), (0, 1, 5, 3)]
    assert sorted(np.concatenate(learner.scored[-1:])) == list(range(8))


def test_a_chosen_pair_that_fails_as_a_prediction_is_trained_on_and_tested_again() -> None:
    learner = Forgetful({5: 0, 1: 1}, lasting=1)
    walk = certified_walk(learner, pool=8)
    assert [choice.position for choice in walk.chosen] == [0, 1, 5]
    assert walk.chosen[1].epochs == 1
    assert (walk.certified, walk.added) == (True, [1, 0, 0])


def test_the_last_pair_of_the_first_pass_is_learnt_in_the_second() -> None:
    learner = Forgetful({7: 0})
    walk = certified_walk(learner, pool=8)
    assert learner.trained == [(0, 1, 7)]
    assert (walk.certified, walk.added) == (True, [1, 0, 0])


def test_a_pair_that_cannot_be_learnt_costs_a_bounded_number_of_epochs_and_the_certificate() -> None:
    learner = Diligent({4})
    walk = certified_walk(learner, pool=8, max_passes=3, max_epochs=5)
    assert walk.certified is False
    assert walk.passes == 3
    assert len(learner.trained) == 1 + 2 * 5
    assert len(walk.chosen) == 3


def test_nothing_to_learn_is_certified_by_the_second_pass() -> None:
    learner = Diligent(set())
    walk = certified_walk(learner, pool=8)
    assert (walk.certified, walk.passes, walk.added, walk.epochs) == (True, 2, [0, 0], 0)
