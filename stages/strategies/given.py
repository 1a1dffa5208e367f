"""Pairs that an earlier choice named: what a core is worth to a network that did not choose it."""

from collections.abc import Iterator

from stages.errors import UserError
from stages.strategies import Learner, Settings, Walk, train_on


def choose(learner: Learner, walk: Walk, settings: Settings) -> Iterator[Walk]:
    """Train on the pairs of a table."""
    if not settings.given:
        raise UserError("select.given names a table without rows, allowed is the core.csv of an earlier run")
    return train_on(settings.given, learner, walk, settings)
