"""The tables of stage `select`, and whether the pool is a random sample."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.pairs.layout import Origins
from stages.pairs.tables import Choice
from stages.pipeline.params import load_all
from stages.select import _independent, _rejected
from stages.strategies.shared.pool import Pool
from stages.strategies.shared.state import State
from tests.conftest import Change
from tests.sets import write_set


def test_rejected_rows_are_those_not_chosen_in_order_with_their_last_scores() -> None:
    state = State(5, chosen=[Choice(0, None), Choice(3, 0.5)], scores=np.array([np.nan, 0.9, 0.75, 0.5, np.nan]))
    rows, scores = _rejected(state, np.array([9, 4, 7, 2, 1]))
    assert rows.tolist() == [1, 4, 7]
    np.testing.assert_array_equal(scores, [np.nan, 0.9, 0.75])
    all_chosen = State(2, chosen=[Choice(0, None), Choice(1, 0.5)])
    assert [len(column) for column in _rejected(all_chosen, np.array([1, 0]))] == [0, 0]
    assert _rejected(State(2), np.array([1, 0]))[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("images", "parameters", "order_seed", "core", "left_out", "independent"),
    [
        ([0, 1, 2], {}, 0, 0, 0, True),
        ([0, 1, 2], {}, None, 0, 0, False),
        ([0, 1, 1], {}, 0, 0, 0, False),
        ([0, 1, 2], {"group_pattern": "(.)_"}, 0, 0, 0, False),
        ([0, 1, 2], {"train_count": 3}, 0, 0, 0, False),
        ([0, 1, 2], {}, 0, 1, 0, False),
        ([0, 1, 2], {}, 0, 0, 1, False),
        (None, {}, None, 0, 0, True),
        (None, {"train_count": 3}, None, 0, 0, True),
        (None, {}, None, 1, 0, True),
        (None, {}, None, 0, 1, False),
    ],
)
def test_a_pool_is_a_random_sample_if_its_pairs_are_drawn_or_images_of_no_group_in_a_drawn_order(
    images: list[int] | None,
    parameters: dict[str, Any],
    order_seed: int | None,
    core: int,
    left_out: int,
    independent: bool,
    change: Change,
    tmp_path: Path,
) -> None:
    origins = images and Origins([[f"{row}.png"] for row in range(3)], np.array([[image, 0, 0, 0] for image in images]))
    pairs = write_set(
        tmp_path / "train.zarr", np.zeros((3, 16, 16, 3), np.uint8), origins=origins or None, parameters=parameters
    )
    pool = Pool(pairs.in_order(np.arange(left_out, 3)), [Choice(0, None)] * core, 3)
    change(**{"select.order_seed": order_seed})
    assert _independent(pool, pairs.origins(), load_all()) is independent
    change(**{"seed_training.with_foreground": True})
    assert not _independent(pool, pairs.origins(), load_all())
