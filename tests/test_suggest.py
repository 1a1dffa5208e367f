"""Which precision to ask for: the guess at a core, the advice, and the command on a small pool."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import suggest
from stages.pipeline.errors import UserError
from stages.strategies.shared.state import Round, State
from stages.suggest import Look, Outlook, advised, forecast_core, precisions
from tests.project import succeed

LEARNT = (40, 80)


@given(st.floats(0.1, 50), st.floats(0, 1), st.integers(500, 100_000))
def test_a_core_is_forecast_from_a_power_law(factor: float, power: float, pool: int) -> None:
    """A walk that chooses by chance, as the share says that the core so far leaves, ends near the guess."""
    shares = [min(1.0, factor * learnt**-power) for learnt in LEARNT]
    failing = [round(share * 100_000) for share in shares]
    if failing[0] in (0, 100_000):
        return
    core = 1.0
    for _ in range(pool):
        core += min(1.0, factor * core**-power)
    guess = forecast_core(LEARNT, (failing[0], failing[1]), 100_000, pool)
    assert guess <= pool
    assert 0.5 < guess / core < 2


@given(st.integers(1, 500), st.integers(1, 500), st.integers(160, 10**6))
def test_a_forecast_is_a_part_of_the_pool_and_grows_with_failures(first: int, second: int, pool: int) -> None:
    guess = forecast_core(LEARNT, (first, second), 1000, pool)
    assert 1 <= guess <= pool
    assert guess <= forecast_core(LEARNT, (2 * first, 2 * second), 1000, pool)


def test_the_highest_precision_of_a_small_core_is_advised() -> None:
    def of(precision: float, core: int) -> Outlook:
        return Outlook(precision, 0.95 * precision, 0.1, core, 60.0)

    assert advised([of(0.3, 40), of(0.5, 99), of(0.6, 260), of(0.7, 300)], 400).precision == 0.5
    assert advised([of(0.3, 300), of(0.5, 200), of(0.6, 400)], 400).precision == 0.5


def test_precisions_stay_below_the_score_in_training() -> None:
    scores = np.zeros(4)
    found = precisions(Look(80, scores, scores > 0, 0.62))
    assert found == [round(0.05 * n, 2) for n in range(3, 13)]
    assert precisions(Look(80, scores, scores > 0, 0.01)) == [0.05]


def test_a_walk_that_keeps_nearly_all_says_so_once_it_has_tested_enough() -> None:
    state = State(10_000)
    for tested in range(11, 211):
        state.rounds.append(Round(tested, tested, 0.5, 0.1, tested))
        assert bool(state.warnings()) == (tested >= 111)
    assert "`python -m stages.suggest` says" in state.warnings()[0]
    state.rounds.append(Round(400, 212, 0.5, 0.1, 212))
    assert not state.warnings()


def test_a_pool_that_is_too_small_to_tell_is_refused(reproduced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reproduced)
    with pytest.raises(UserError, match=r"train\.zarr: 40 pairs, allowed are 160 or more to tell anything from"):
        suggest.main([])


@pytest.mark.slow
def test_the_command_prints_scores_outlooks_and_a_command(project: Path) -> None:
    succeed(project, "dvc", "exp", "run", "-S", "dataset.train_count=300", "generate@train")
    printed = succeed(project, "python", "-m", "stages.suggest")
    assert re.search(r"a network that has learnt 80 of 300 pairs, \d\.\d+ in training, scores 220 others", printed)
    assert re.search(r"^advised: dvc exp run -S precision=\d\.\d+$", printed, re.MULTILINE)
