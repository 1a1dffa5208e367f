"""Chosen pairs are judged by networks that did not learn them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import judge
from stages.judge import Fold, part
from stages.learning.protocol import Verified
from stages.learning.scores import PixelCounts, tiered_iou
from stages.networks import residual_unet
from stages.pairs.layout import Origins
from stages.pairs.read import Pairs
from stages.pipeline import paths
from stages.pipeline.checkpoints import Checkpoint
from stages.pipeline.errors import UserError
from stages.pipeline.files import read_arrays
from tests import tiny
from tests.conftest import Change
from tests.sets import write_set

SIZE = 16
COUNT = 40
WRONG = 5


def bright_columns(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Dark images with some bright columns, and these as masks."""
    first = np.random.default_rng(0).integers(0, SIZE - 6, count)
    columns = np.arange(SIZE) - first[:, None]
    masks = np.repeat(((columns >= 0) & (columns < 6))[:, None, :, None], SIZE, axis=1).astype(np.uint8)
    return np.repeat(50 + 150 * masks, 3, axis=3).astype(np.uint8), masks


@pytest.fixture
def stage(workspace: Path, change: Change, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pool that is learnt at once, of which one mask is wrong."""
    images, masks = bright_columns(COUNT)
    masks[WRONG] = 1 - masks[WRONG]
    write_set(paths.POOL, images, masks)
    (workspace / "stages/none").mkdir()
    (workspace / "stages/none/pairs.csv").write_text("row\n")
    monkeypatch.setattr(judge, "set_up_training", lambda: 1)
    monkeypatch.setattr(residual_unet, "build", tiny.build)
    small = {"network.base_filters": 4, "training.learning_rate": 0.02}
    change(**{"judge.folds": 2, "judge.repeats": 1, "judge.steps": 30, **small})
    return workspace


def found() -> dict[str, np.ndarray]:
    return read_arrays(paths.JUDGED)


def figures() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(paths.JUDGE_METRICS.read_text())
    return values


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_wrong_mask_is_contradicted_most(stage: Path, change: Change, repeats: int) -> None:
    change(**{"judge.repeats": repeats})
    judge.main()
    arrays = found()
    assert arrays["rows"][arrays["shortfalls"].argmax()] == WRONG
    scores = dict(zip(arrays["rows"].tolist(), arrays["scores"].tolist(), strict=True))
    assert sorted(scores) == list(range(COUNT))
    assert scores.pop(WRONG) == 0
    assert min(scores.values()) > 0.5
    assert (figures()["judged"], figures()["pairs_trained"]) == (COUNT, repeats * 2 * 30 * judge.BATCH)
    predictions = dict(zip(arrays["pictured"].tolist(), arrays["predictions"], strict=True))
    right = 1 - Pairs(paths.POOL).read_rows(np.array([WRONG])).targets[0]
    assert ((predictions[WRONG] > 0.5) == right).mean() > 0.9


def test_pairs_that_are_left_out_are_neither_learnt_nor_judged(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (stage / "stages/none/pairs.csv").write_text("row\n5\n7\n")
    parted: list[np.ndarray] = []

    def watched(pairs: Pairs, count: int, repeats: int, seed: int) -> list[Fold]:
        parted.append(pairs.order)
        return part(pairs, count, repeats, seed)

    monkeypatch.setattr(judge, "part", watched)
    judge.main()
    assert parted[0].tolist() == sorted(found()["rows"].tolist()) == [row for row in range(COUNT) if row not in (5, 7)]


def test_it_goes_on_after_an_interruption_to_the_same_bits(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge.main()
    expected = found()
    shutil.rmtree(".traincore")
    monkeypatch.setenv("TRAINCORE_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(judge, "BLOCK", 8)
    for stop in (7, 38, 46, 60, 88):  # in either training and either test
        save = Checkpoint.save

        def cut(self: Checkpoint, state: Any, stop: int = stop, save: Any = save) -> None:
            save(self, state)
            if state.plain["done"] == stop:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "save", cut)
            with pytest.raises(KeyboardInterrupt):
                judge.main()
    judge.main()
    assert {name: array.tobytes() for name, array in found().items()} == {
        name: array.tobytes() for name, array in expected.items()
    }


def test_without_folds_nothing_is_trained(stage: Path, change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise AssertionError("TensorFlow is not needed")

    monkeypatch.setattr(judge, "set_up_training", refuse)
    change(**{"judge.folds": 0})
    judge.main()
    assert [len(array) for array in found().values()] == [0] * 5
    assert (figures()["judged"], figures()["pairs_trained"]) == (0, 0)


def test_of_two_judgements_the_one_counts_that_contradicts_the_mask_less(
    stage: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.learning.learner import Learner

    said: list[tuple[list[int], Verified]] = []
    verify = Learner.verify

    def watched(self: Learner, positions: np.ndarray) -> Verified:
        said.append((positions.tolist(), verify(self, positions)))
        return said[-1][1]

    monkeypatch.setattr(Learner, "verify", watched)
    change(**{"judge.repeats": 3, "judge.steps": 4})
    judge.main()
    least: dict[int, tuple[float, float]] = {}
    for positions, verified in said:
        for row, *values in zip(positions, verified.shortfalls, verified.scores, strict=True):
            least[row] = min(least.get(row, (np.inf, 0)), (values[0], values[1]), key=lambda each: each[0])
    assert len(said) == 6
    arrays = found()
    kept = zip(arrays["shortfalls"], arrays["scores"], strict=True)
    assert dict(zip(arrays["rows"].tolist(), kept, strict=True)) == least


def test_those_contradicted_most_are_pictured_as_what_judges_them_sees_them(
    stage: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "PICTURED", 6)
    change(**{"judge.repeats": 3, "judge.steps": 4})
    judge.main()
    arrays = found()
    assert len(arrays["pictured"]) == 6
    shortfalls = dict(zip(arrays["rows"].tolist(), arrays["shortfalls"].tolist(), strict=True))
    assert max(shortfalls, key=lambda row: shortfalls[row]) in arrays["pictured"]
    true = Pairs(paths.POOL).read_rows(arrays["pictured"]).targets == 1
    said = arrays["predictions"] > 0.5
    kinds = (true & said, ~true & said, true & ~said, ~true & ~said)
    counts = PixelCounts(*(np.sum(kind, axis=(1, 2, 3)) for kind in kinds))
    scores = dict(zip(arrays["rows"].tolist(), arrays["scores"].tolist(), strict=True))
    assert tiered_iou(counts).tolist() == [scores[row] for row in arrays["pictured"].tolist()]


@given(st.integers(0, 12), st.lists(st.integers(0, 5), min_size=2, max_size=40), st.integers(2, 5), st.integers(1, 3))
def test_folds_judge_each_pair_once_a_time_without_its_image(
    tmp_path_factory: pytest.TempPathFactory, seed: int, images: list[int], count: int, repeats: int
) -> None:
    origins = Origins([[f"{image}.png"] for image in range(6)], np.array([[image, 0, 0, 0] for image in images]))
    pairs = write_set(
        tmp_path_factory.mktemp("set") / "train.zarr", np.zeros((len(images), 4, 4, 3), np.uint8), origins=origins
    )
    if count > len(images):
        with pytest.raises(
            UserError, match=rf"judge\.folds is {count}, allowed is at most {len(images)}, the pairs of"
        ):
            part(pairs, count, repeats, seed)
        return
    folds = part(pairs, count, repeats, seed)
    assert len(folds) == count * repeats
    for start in range(0, len(folds), count):
        judged_then = [row for fold in folds[start : start + count] for row in fold.judged.tolist()]
        assert sorted(judged_then) == list(range(len(images)))
    of_tiles = len(set(images)) < count
    for fold in folds:
        learnt, judged = ({row if of_tiles else images[row] for row in rows.tolist()} for rows in fold)
        assert not learnt & judged
        assert len(fold.learnt) + len(fold.judged) == len(images)
