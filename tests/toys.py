"""What toy learners have in common."""

from collections.abc import Container, Sequence

import numpy as np

from stages.strategies import Epoch


class Toy:
    """A learner that refuses whatever a test does not expect of it."""

    def fit_epoch(self, positions: Sequence[int], steps: int | None = None, remember: Container[int] = ()) -> Epoch:
        raise AssertionError("nothing is to be trained on")

    def score(self, positions: Sequence[int]) -> np.ndarray:
        raise AssertionError("nothing is to be scored")

    def verify(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        raise AssertionError("nothing is to be verified")

    def uncertainty(self, positions: Sequence[int]) -> np.ndarray:
        raise AssertionError("nothing is to be rated")

    def error_norm(self, positions: Sequence[int]) -> np.ndarray:
        raise AssertionError("nothing is to be rated")

    def features(self, positions: Sequence[int]) -> np.ndarray:
        raise AssertionError("nothing is to be described")

    def recall(self, positions: Sequence[int]) -> None:
        raise AssertionError("nothing is to be recalled")

    def renew(self) -> None:
        raise AssertionError("nothing is to be forgotten")
