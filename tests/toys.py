"""Toy learners and toy pools, by which strategies are tested in milliseconds."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.learning.protocol import Epoch, Verified
from stages.pairs.tables import Choice


class Toy:
    """A learner that refuses whatever a test does not expect of it."""

    def fit_epoch(self, positions: Sequence[int], steps: int | None = None, remember: Container[int] = ()) -> Epoch:
        raise AssertionError("nothing is to be trained on")

    def fit_step(self, positions: Sequence[int], rate: float = 1.0, as_stored: int = 0) -> Epoch:
        raise AssertionError("nothing is to be trained on by itself")

    def estimate(self, positions: Sequence[int]) -> None:
        raise AssertionError("nothing is to be estimated")

    def score(self, positions: Sequence[int]) -> np.ndarray:
        raise AssertionError("nothing is to be scored")

    def expect(self, positions: Sequence[int] | np.ndarray) -> None:
        """Nothing is begun with ahead."""

    def verify(self, positions: Sequence[int] | np.ndarray) -> Verified:
        raise AssertionError("nothing is to be verified")

    def uncertainty(self, positions: Sequence[int]) -> np.ndarray:
        raise AssertionError("nothing is to be rated")

    def error_norm(self, positions: Sequence[int]) -> np.ndarray:
        raise AssertionError("nothing is to be rated")

    def features(self, positions: Sequence[int]) -> np.ndarray:
        raise AssertionError("nothing is to be described")

    def shapes(self, positions: Sequence[int]) -> np.ndarray:
        raise AssertionError("nothing is to be measured")

    def recall(self, positions: Sequence[int]) -> None:
        raise AssertionError("nothing is to be recalled")

    def renew(self) -> None:
        raise AssertionError("nothing is to be forgotten")


@dataclass
class ToyPool:
    """A pool of some size, in which an earlier core may stand first, and tables by name."""

    size: int
    core: list[Choice] = field(default_factory=list)
    new: int | None = None
    tables: Mapping[str, Sequence[int]] = field(default_factory=dict)
    strategy: str | None = None

    @property
    def end(self) -> int:
        return self.size if self.new is None else len(self.core) + self.new

    def positions_of(self, table: str) -> Sequence[int]:
        return self.tables[table]
