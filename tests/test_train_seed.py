"""The seed stage's loop: until the precision is passed, or its epochs are used up."""

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.learning.protocol import Epoch
from stages.pairs.layout import Block, Layout
from stages.pairs.read import Pairs
from stages.pairs.write import create, finish, write_shard
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import Params, SeedTrainingParams
from stages.pipeline.progress import Progress
from stages.train_seed import _warn_of_empty_masks, train
from tests.toys import Toy


class Climbing(Toy):
    """A toy learner whose score rises by .1 an epoch."""

    def __init__(self) -> None:
        self.trained: list[list[int]] = []

    def fit_epoch(self, positions: Sequence[int], steps: int | None = None, remember: Container[int] = ()) -> Epoch:
        self.trained.append(list(positions))
        return Epoch(score=len(self.trained) / 10, loss=1 / len(self.trained))


def params(max_epochs: int, precision: float = 0.5, goal: Any = "learn") -> Params:
    options = SeedTrainingParams(count=3, with_foreground=False, batch_size=2, max_epochs=max_epochs, goal=goal)
    return Params.model_construct(precision=precision, seed_training=options)


def unseen(number: int, figures: Mapping[str, Any]) -> None:
    """Nobody watches."""


def test_it_trains_until_an_epochs_score_is_above_the_precision() -> None:
    learner = Climbing()
    epochs: list[Epoch] = []
    watched: dict[int, Mapping[str, Any]] = {}
    with Progress("test", 20, "epoch") as progress:
        train(learner, range(3), params(20), epochs, progress, watched.__setitem__)
    assert watched == {number: epoch._asdict() for number, epoch in enumerate(epochs, 1)}
    assert [epoch.score for epoch in epochs] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert learner.trained == [[0, 1, 2]] * 6


@pytest.mark.parametrize("done", [1, 5, 6])
def test_it_goes_on_from_the_epochs_that_are_done(done: int) -> None:
    learner = Climbing()
    epochs = [learner.fit_epoch(range(3)) for _ in range(done)]
    with Progress("test", 20, "epoch") as progress:
        train(learner, range(3), params(20), epochs, progress, unseen)
    assert [epoch.score for epoch in epochs] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_too_few_epochs_end_in_a_line_that_says_how_far_it_came_and_what_to_try() -> None:
    with Progress("test", 4, "epoch") as progress, pytest.raises(UserError) as caught:
        train(Climbing(), range(3), params(4), [], progress, unseen)
    line = str(caught.value)
    assert "\n" not in line
    for said in ("max_epochs = 4", "0.4000", "precision = 0.5", "try", "learning_rate"):
        assert said in line


def test_a_seed_that_has_but_to_try_goes_on_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    epochs: list[Epoch] = []
    with Progress("test", 4, "epoch") as progress:
        train(Climbing(), range(3), params(4, goal="try"), epochs, progress, unseen)
    assert len(epochs) == 4
    assert "warning: seed_training.max_epochs are over" in capsys.readouterr().err


@pytest.mark.parametrize(("filled", "warned"), [(1, True), (2, False), (3, False)])
def test_mostly_empty_seed_masks_are_warned_about(
    filled: int, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = Layout(4, (8, 8, 3), "uint8")
    masks = np.zeros((4, 8, 8, 1), np.uint8)
    masks[:filled, 2, 2] = 1
    path = tmp_path / "pairs.zarr"
    create(path, layout, {})
    finish(path, write_shard(path, layout, 0, Block(np.zeros((4, 8, 8, 3), np.uint8), masks)))
    with Progress("test", 1, "epoch") as progress:
        _warn_of_empty_masks(Pairs(path), range(4), progress)
    assert (f"only {filled} of 4 seed pairs" in capsys.readouterr().err) == warned
