"""The tables of stage `select`."""

import numpy as np

from stages.pairs.tables import Choice
from stages.select import _rejected
from stages.strategies.shared.state import State


def test_rejected_rows_are_those_not_chosen_in_order_with_their_last_scores() -> None:
    state = State(5, chosen=[Choice(0, None), Choice(3, 0.5)], scores=np.array([np.nan, 0.9, 0.75, 0.5, np.nan]))
    found = _rejected(state, np.array([9, 4, 7, 2, 1]))
    assert list(found.items()) == [(1, None), (4, 0.9), (7, 0.75)]
    assert all(score is None or type(score) is float for score in found.values())
    assert _rejected(State(2, chosen=[Choice(0, None), Choice(1, 0.5)]), np.array([1, 0])) == {}
