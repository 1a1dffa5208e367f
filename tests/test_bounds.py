"""Bounds on the share of fresh pairs that fail: the figures of their formulas, and whether they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from stages.learning.bounds import bound_by_core, bound_by_test


@pytest.mark.parametrize(
    ("chosen", "pool", "percent"), [(100, 10_000, 1.47), (130, 10_000, 1.83), (330, 10_000, 4.12), (146, 384, 48.8)]
)
def test_the_bound_has_the_figures_of_its_formula(chosen: int, pool: int, percent: float) -> None:
    assert 100 * bound_by_core(chosen, pool, 0.999) == pytest.approx(percent, abs=0.05 if percent > 10 else 0.005)


def test_the_bound_is_next_to_one_if_all_but_one_are_chosen() -> None:
    assert 0.9999 < bound_by_core(39_999, 40_000, 0.999) <= 1
    assert bound_by_core(9_999, 10_000, 1 - 1e-9) == 1


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.5, 0.999))
def test_the_bound_grows_with_the_core_and_the_confidence_and_shrinks_with_the_pool(
    chosen: int, others: int, confidence: float
) -> None:
    bound = bound_by_core(chosen, chosen + others, confidence)
    assert chosen / (chosen + others) < bound <= 1
    assert bound_by_core(chosen + 1, chosen + others, confidence) > bound or bound == 1
    assert bound_by_core(chosen, chosen + others + 1, confidence) < bound
    assert bound_by_core(chosen, chosen + others, (1 + confidence) / 2) > bound
    assert bound_by_core(chosen, chosen, confidence) == 1


def test_the_bound_holds_in_a_world_where_the_truth_is_known() -> None:
    """Pairs are numbers in [0, 1), learnt by heart: one fails if it is above all that were chosen."""
    random_numbers, wrong, confidence = np.random.default_rng(0), 0, 0.8
    for _ in range(500):
        pool, top, chosen = random_numbers.random(40), 0.0, 0
        for number in pool:
            if number > top:
                top, chosen = number, chosen + 1
        wrong += 1 - top > bound_by_core(chosen, len(pool), confidence)
    assert wrong / 500 <= 1 - confidence


@given(st.integers(1, 500), st.floats(0, 1), st.floats(0.5, 0.999))
def test_a_test_set_as_bad_as_the_bound_says_would_seldom_look_so_good(
    pairs: int, share: float, confidence: float
) -> None:
    failing = int(share * pairs)
    bound = bound_by_test(failing, pairs, confidence)
    assert failing / pairs <= bound <= 1
    assert binom.cdf(failing, pairs, bound) == pytest.approx(1 - confidence if failing < pairs else 1, abs=1e-6)
