"""Strategies that choose first and then train: what they choose, how long they train, and how they go on."""

import copy
import json
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.learning.protocol import Epoch
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import BudgetParams, Section
from stages.strategies import ccs, foreground_random
from stages.strategies.shared import budget
from stages.strategies.shared.budget import BudgetState, NoOptions, RatingOptions
from stages.strategies.shared.strategy import Settings, strategy_of
from tests.toys import Toy, ToyPool

POOL = 20
BATCH = 4


@dataclass
class Counter(Toy):
    """A learner that notes what it is trained on."""

    trained: list[tuple[list[int], int | None]] = field(default_factory=list)
    remembered: list[int] = field(default_factory=list)
    recalled: list[list[int]] = field(default_factory=list)
    renewed: int = 0

    def fit_epoch(self, positions: Sequence[int], steps: int | None = None, remember: Container[int] = ()) -> Epoch:
        before = sum(min(steps_of(pairs), most or POOL) for pairs, most in self.trained)
        count = min(steps_of(list(positions)), steps or POOL)
        self.remembered += [before + step for step in range(1, count + 1) if step in remember]
        self.trained.append((list(positions), steps))
        return Epoch(len(self.trained) / 10, 1 / len(self.trained))

    def renew(self) -> None:
        self.renewed += 1

    def recall(self, positions: Sequence[int]) -> None:
        self.recalled.append(list(positions))


def steps_of(positions: list[int]) -> int:
    return -(-len(positions) // BATCH)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs are rated in blocks that do not divide the pool."""
    monkeypatch.setattr(budget, "PREDICTION_BATCH", 6)


def settings(
    seed: int = 1, bar: float = 0.8, rating_epochs: int | None = None, options: Section | None = None, **changes: Any
) -> Settings:
    few = BudgetParams(**{"count": 6, "epochs": 3, "steps": None, "averaged": 0.0, **changes})
    options = options or (NoOptions() if rating_epochs is None else RatingOptions(rating_epochs=rating_epochs))
    return Settings(
        precision=0.9,
        bar=bar,
        confidence=0.999,
        suspect_below=0.0,
        batch_size=BATCH,
        seeds=2,
        seed=seed,
        budget=few,
        retrain=0,
        options=options,
    )


def begun(name: str, given: Settings) -> BudgetState:
    state = strategy_of(name).start(ToyPool(POOL), given)
    assert isinstance(state, BudgetState)
    return state


def carried_out(name: str, given: Settings) -> tuple[BudgetState, Counter]:
    walk, learner = begun(name, given), Counter()
    for _ in strategy_of(name).choose(learner, walk, given):
        pass
    return walk, learner


def positions(walk: BudgetState) -> list[int]:
    return [choice.position for choice in walk.chosen]


def test_everything_is_the_whole_pool_for_some_epochs() -> None:
    walk, learner = carried_out("everything", settings())
    assert positions(walk) == list(range(POOL))
    assert [trained for trained, _ in learner.trained] == [list(range(POOL))] * 3
    assert (walk.epochs, walk.steps, walk.pairs_trained, walk.pairs_scored, walk.tested) == (3, 15, 60, 0, POOL)
    assert (walk.score, walk.loss, walk.metrics()["certified"]) == (0.3, 1 / 3, None)
    rounds = [(each.selected, each.epochs, each.score) for each in walk.rounds]
    assert rounds == [(20, 1, 0.1), (20, 2, 0.2), (20, 3, 0.3)]


def test_random_pairs_are_as_many_as_asked_for_and_depend_on_the_seed_alone() -> None:
    first, second, other = (positions(carried_out("random", settings(seed=seed))[0]) for seed in (1, 1, 2))
    assert first == second != other
    assert first == sorted(set(first))
    assert len(first) == 6
    drawn = [position for seed in range(200) for position in positions(carried_out("random", settings(seed=seed))[0])]
    counts = np.bincount(drawn, minlength=POOL)
    assert len(counts) == POOL
    assert counts.min() > 30  # 60 expected of each, six standard deviations below would be 21
    assert counts.max() < 95


def test_more_pairs_than_there_are_cannot_be_chosen() -> None:
    with pytest.raises(UserError, match=r"select\.budget\.count is 21, allowed is at most 20"):
        carried_out("random", settings(count=21))
    assert len(positions(carried_out("random", settings(count=20))[0])) == 20


@pytest.mark.parametrize(
    ("steps", "of_epochs", "pairs"), [(1, [1], 4), (2, [2], 6), (3, [3, 1], 10), (5, [5, 3, 1], 16), (6, [6, 4, 2], 18)]
)
def test_a_budget_of_steps_is_kept_to_the_step(steps: int, of_epochs: list[int], pairs: int) -> None:
    walk, learner = carried_out("random", settings(steps=steps))  # six pairs in batches of four: two steps an epoch
    assert [most for _, most in learner.trained] == of_epochs
    assert (walk.steps, walk.pairs_trained, walk.epochs) == (steps, pairs, len(of_epochs))


@pytest.mark.parametrize("averaged", [0.0, 0.5, 1.0])
def test_weights_are_averaged_over_moments_that_do_not_depend_on_how_long_an_epoch_is(averaged: float) -> None:
    moments = []
    for name in ("random", "everything"):
        _, learner = carried_out(name, settings(steps=200, averaged=averaged))
        assert len(learner.recalled) == 1
        moments.append(learner.remembered)
    assert moments[0] == moments[1]
    assert len(moments[0]) == (20 if averaged else 0)
    if averaged:
        assert moments[0][-1] == 200
        assert moments[0][0] == 200 - round(200 * averaged * 19 / 20)
        assert np.ptp(np.diff(moments[0])) == 0


def test_of_equally_rated_pairs_it_is_drawn_which_are_chosen() -> None:
    chosen = []
    for seed in (1, 1, 2):
        learner, walk = Rater(), begun("uncertainty", settings(seed=seed))
        for _ in strategy_of("uncertainty").choose(learner, walk, settings(seed=seed)):
            pass
        chosen.append(positions(walk))
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_strategy_goes_on_from_wherever_it_was_saved() -> None:
    straight, learner = carried_out("random", settings())
    for stop in range(4):
        walk, again = begun("random", settings()), Counter()
        steps = strategy_of("random").choose(again, walk, settings())
        for _ in range(stop):
            next(steps)
        saved = json.loads(json.dumps(walk.plain()))
        resumed, rest = walk.restored(saved, walk.arrays()), copy.deepcopy(again)
        for _ in strategy_of("random").choose(rest, resumed, settings()):
            pass
        assert (resumed, rest) == (straight, learner)


@dataclass
class Rater(Counter):
    """A learner that rates a pair by a table; what it knows is how many epochs it has trained since it was renewed."""

    ratings: dict[int, float] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def rate(self, positions: Sequence[int]) -> np.ndarray:
        self.asked.extend(positions)
        return np.array([[self.ratings.get(position, 0.0)] for position in positions])

    uncertainty = error_norm = rate


@pytest.mark.parametrize(("name", "rated_after"), [("uncertainty", 0), ("el2n", 2)])
def test_the_pairs_that_are_rated_highest_are_chosen(name: str, rated_after: int) -> None:
    learner, walk = (
        Rater(ratings={7: 3.0, 2: 9.0, 19: 1.0, 11: 2.5, 0: 2.0, 1: 0.5}),
        begun(name, settings(rating_epochs=2)),
    )
    for _ in strategy_of(name).choose(learner, walk, settings(rating_epochs=2)):
        pass
    assert positions(walk) == [2, 7, 11, 0, 19, 1]
    assert learner.asked == list(range(POOL))
    assert [trained for trained, _ in learner.trained] == [list(range(POOL))] * rated_after + [positions(walk)] * 3
    assert (learner.renewed, walk.rating_epochs, walk.pairs_scored) == (1, rated_after, POOL)
    assert (walk.epochs, walk.steps, walk.pairs_trained) == (3, 6, 18)


@dataclass
class Forgetter(Counter):
    """A learner that fails some pairs after some epochs."""

    fails: dict[int, set[int]] = field(default_factory=dict)

    def score(self, positions: Sequence[int]) -> np.ndarray:
        return np.array([0.0 if len(self.trained) in self.fails.get(each, set()) else 1.0 for each in positions])


def test_pairs_are_chosen_that_are_forgotten_most_often_or_never_learnt() -> None:
    fails = {3: {1}, 4: {2}, 9: {2, 4}, 12: {1, 2, 3, 4}, 15: {1, 2, 4}, 18: {3, 4}}
    learner, walk = Forgetter(fails=fails), begun("forgetting", settings(rating_epochs=4, count=5))
    for _ in strategy_of("forgetting").choose(learner, walk, settings(rating_epochs=4, count=5)):
        pass
    assert positions(walk)[:2] == [12, 9]
    assert sorted(positions(walk)[2:]) == [4, 15, 18]  # forgotten once each
    assert (learner.renewed, walk.rating_epochs, walk.pairs_scored) == (1, 4, 4 * POOL)


@dataclass
class Describer(Counter):
    """A learner that sees pairs as points."""

    points: np.ndarray = field(default_factory=lambda: np.empty(0))

    def features(self, positions: Sequence[int]) -> np.ndarray:
        return np.asarray(self.points[list(positions)], dtype=np.float64)


def test_centres_are_spread_from_the_seed_pairs_on() -> None:
    points = np.zeros((POOL, 2))
    points[5], points[8], points[13], points[14] = (10, 0), (0, 7), (9, 0), (3, 3)
    learner, walk = Describer(points=points), begun("k_center", settings(count=5))
    for _ in strategy_of("k_center").choose(learner, walk, settings(count=5)):
        pass
    assert positions(walk) == [0, 1, 5, 8, 14]  # 13 is near 5 by then
    assert learner.renewed == 1


@pytest.mark.parametrize("name", ["k_center", "facility_location"])
@pytest.mark.parametrize("size", [1, 6, POOL])
def test_no_pair_is_chosen_twice_where_all_are_equal(name: str, size: int) -> None:
    learner, walk = Describer(points=np.zeros((POOL, 3))), begun(name, settings(count=size))
    for _ in strategy_of(name).choose(learner, walk, settings(count=size)):
        pass
    assert len(set(positions(walk))) == len(positions(walk)) == size


def test_a_pair_of_each_crowd_stands_for_the_pool() -> None:
    points = np.random.default_rng(1).normal(scale=0.1, size=(POOL, 2))
    points[5:9] += (9, 0)
    points[9:12] += (0, 9)
    points[12] += (9, 9)  # alone: the last to be worth a representative of its own
    learner, walk = Describer(points=points), begun("facility_location", settings(count=4))
    for _ in strategy_of("facility_location").choose(learner, walk, settings(count=4)):
        pass
    first, *others, last = positions(walk)
    assert first in {0, 1, 2, 3, 4, *range(13, POOL)}
    assert sorted(other // 9 for other in others) == [0, 1]
    assert 5 <= min(others) < 9 <= max(others) < 12
    assert last == 12
    assert learner.renewed == 1


@given(
    st.lists(st.integers(0, 1000).map(lambda rating: rating / 100), min_size=POOL, max_size=POOL),
    st.integers(1, POOL),
    st.integers(1, 6),
    st.floats(0, 0.9),
)
def test_as_many_pairs_of_each_difficulty_are_drawn_as_there_are(
    ratings: list[float], count: int, strata: int, hardest: float
) -> None:
    learner = Rater(ratings=dict(enumerate(ratings)))
    asked = settings(count=count, options=ccs.Options(rating_epochs=1, strata=strata, hardest=hardest))
    walk = begun("ccs", asked)
    for _ in strategy_of("ccs").choose(learner, walk, asked):
        pass
    chosen = positions(walk)
    assert len(set(chosen)) == len(chosen) == count
    hard = np.argsort(ratings, kind="stable")[max(count, round((1 - hardest) * POOL)) :]
    assert not set(chosen) & set(hard.tolist())


def test_a_crowd_of_easy_pairs_is_drawn_from_no_more_than_a_stratum_of_few() -> None:
    learner = Rater(ratings={pair: 0.1 if pair < 12 else 5.0 if pair < 16 else 9.9 for pair in range(POOL)})
    asked = settings(count=9, options=ccs.Options(rating_epochs=1, strata=3, hardest=0.0))
    walk = begun("ccs", asked)
    for _ in strategy_of("ccs").choose(learner, walk, asked):
        pass
    assert np.bincount([(pair >= 12) + (pair >= 16) for pair in positions(walk)]).tolist() == [3, 3, 3]


@dataclass
class Shaped(Counter):
    """A learner whose masks have some foreground and some shape."""

    masks: dict[int, tuple[float, float]] = field(default_factory=dict)

    def shapes(self, positions: Sequence[int]) -> np.ndarray:
        return np.array([self.masks.get(position, (0.0, 0.0)) for position in positions])


@pytest.mark.parametrize(("share", "least"), [(0.0, 0), (0.5, 3), (1.0, 4)])
def test_a_share_is_drawn_among_pairs_with_foreground(share: float, least: int) -> None:
    found = []
    for seed in range(20):
        learner = Shaped(masks={3: (5.0, 1.0), 8: (1.0, 1.0), 9: (7.0, 2.0), 17: (2.0, 1.0)})
        asked = settings(seed=seed, options=foreground_random.Options(share=share))
        walk = begun("foreground_random", asked)
        for _ in strategy_of("foreground_random").choose(learner, walk, asked):
            pass
        assert positions(walk) == sorted(set(positions(walk)))
        assert len(positions(walk)) == 6
        found.append(len({3, 8, 9, 17} & set(positions(walk))))
    assert min(found) >= least
    assert len(set(found)) > 1 or share == 1


def test_the_least_simple_masks_are_chosen() -> None:
    learner = Shaped(masks={3: (5.0, 1.1), 8: (90.0, 3.0), 9: (7.0, 2.0), 17: (2.0, 1.0)})
    walk = begun("mask_shape", settings(count=3))
    for _ in strategy_of("mask_shape").choose(learner, walk, settings(count=3)):
        pass
    assert positions(walk) == [8, 9, 3]


@pytest.mark.parametrize("name", ["el2n", "forgetting"])
def test_a_rating_goes_on_from_wherever_it_was_saved(name: str) -> None:
    def learner() -> Rater:
        made = Rater(ratings={7: 3.0, 2: 9.0})
        made.score = lambda positions: made.rate(positions)[:, 0]  # type: ignore[method-assign]
        return made

    given = settings(rating_epochs=2)
    straight, straight_learner = begun(name, given), learner()
    count = sum(1 for _ in strategy_of(name).choose(straight_learner, straight, given))
    for stop in range(1, count):
        walk, first, second = begun(name, given), learner(), learner()
        steps = strategy_of(name).choose(first, walk, given)
        for _ in range(stop):
            next(steps)
        resumed = walk.restored(json.loads(json.dumps(walk.plain())), walk.arrays())
        second.trained, second.asked, second.renewed = first.trained, first.asked, first.renewed
        for _ in strategy_of(name).choose(second, resumed, given):
            pass
        assert resumed == straight
        assert (second.trained, second.asked, second.renewed) == (straight_learner.trained, straight_learner.asked, 1)
