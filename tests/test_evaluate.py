"""What the evaluation reads and what it makes of the fits; the plot data."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.checkpoints import Checkpoint, Clock
from stages.errors import UserError
from stages.evaluate import _fit, read_core, summarize
from stages.figures import distribution
from stages.progress import Progress
from stages.scores import Fit, LabelFit, MaskFit, PixelCounts, hit_rate, tiered_iou


def counts(*pairs: tuple[float, float, float, float]) -> PixelCounts:
    return PixelCounts(*(np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True)))


def test_the_summary_of_three_pairs() -> None:
    mask = counts((90, 5, 5, 900), (50, 50, 0, 900), (0, 0, 0, 1000))
    soft = counts((80, 10, 15, 895), (50, 50, 0, 900), (0, 1, 0, 999))
    summary = summarize(MaskFit(mask, soft, np.array([0.5, 0.25, 0.0])), tiered_iou(mask), bar=0.85)
    assert summary == {
        "pairs": 3,
        "score": pytest.approx((0.9 + 0.0 + 1.0) / 3),
        "min_score": 0.0,
        "below_bar": 1,
        "tiered_iou": pytest.approx((0.9 + 0.0 + 1.0) / 3),
        "soft_tiered_iou": pytest.approx((0.6 + 0.0 + 0.0) / 3),
        "mean_iou": pytest.approx((0.9 + 0.5 + 1.0) / 3),
        "min_iou": 0.5,
        "mean_dice": pytest.approx((180 / 190 + 100 / 150 + 1.0) / 3),
        "mean_spread": 0.25,
        "true_positive": 140,
        "false_positive": 55,
        "false_negative": 5,
        "true_negative": 2800,
    }


def test_the_summary_of_classes() -> None:
    fit = LabelFit(np.array([0.9, 0.3, 0.5]), np.array([0.1, 0.6, 0.25]))
    assert summarize(fit, hit_rate(fit), bar=0.8) == {
        "pairs": 3,
        "score": pytest.approx(2 / 3),
        "min_score": 0.0,
        "below_bar": 1,
        "hit_rate": pytest.approx(2 / 3),
        "mean_true_probability": pytest.approx(1.7 / 3),
        "min_true_probability": 0.3,
    }


def test_the_summary_of_no_pairs() -> None:
    empty = PixelCounts(*(np.zeros(0) for _ in range(4)))
    assert summarize(MaskFit(empty, empty), np.zeros(0), bar=0.5) == {"pairs": 0}


def test_the_rows_of_a_core_are_read_in_their_order(tmp_path: Path) -> None:
    table = tmp_path / "core.csv"
    table.write_text("row,order,score,epochs\n7,0,,0\n2,1,0.5,3\n")
    assert read_core(table, 8).tolist() == [7, 2]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "column\n1\n",
        "row\nx\n",
        "row\n1.5\n",
        "row\n3\n3\n",
        "row\n8\n",
        "row\n-1\n",
        "order,row\n1\n",
        "row\n\0\n",
    ],
)
def test_a_table_that_is_no_core_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    table = tmp_path / "core.csv"
    table.write_text(content)
    with pytest.raises(UserError, match=r"core\.csv: ") as caught:
        read_core(table, 8)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        read_core(tmp_path / "core.csv", 8)


def test_the_distribution_counts_each_score_in_its_step() -> None:
    columns = distribution({"test": np.array([0.0, 0.3, 0.1 + 0.2, 1.1]), "chosen": np.zeros(0)})
    assert list(columns) == ["score", "test", "chosen"]
    assert columns["score"] == pytest.approx([step / 10 for step in range(12)])
    shares = dict(zip(columns["score"], columns["test"], strict=True))
    assert {step: share for step, share in shares.items() if share} == {0.0: 0.25, 0.3: 0.5, 1.1: 0.25}
    assert columns["chosen"] == [0.0] * 12


class Counting:
    """A predictor whose fits tell positions; it is interrupted before some block."""

    def __init__(self, count: int, stop_before: int | None = None) -> None:
        self.pairs: Any = range(count)
        self.stop_before = stop_before
        self.asked: list[int] = []

    def fits(self, positions: Sequence[int]) -> Iterator[Fit]:
        for start in range(0, len(positions), 3):
            block = np.array(positions[start : start + 3], dtype=np.float64)
            if self.stop_before is not None and block[0] >= self.stop_before:
                raise KeyboardInterrupt
            self.asked.extend(block.astype(int).tolist())
            yield MaskFit(PixelCounts(*[block] * 4), PixelCounts(*[block + 0.5] * 4), block)


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINCORE_CHECKPOINT_SECONDS", "0")
    (tmp_path / "straight").mkdir()
    first, second = ([Counting(7), Counting(10, stop_before=stop)] for stop in (6, None))
    with Progress("evaluate", 17, "pair") as progress:
        straight = _fit([Counting(7), Counting(10)], progress, Checkpoint(tmp_path / "straight", "evaluate"), Clock())
        with pytest.raises(KeyboardInterrupt):
            _fit(first, progress, Checkpoint(tmp_path, "evaluate"), Clock())
        resumed = _fit(second, progress, Checkpoint(tmp_path, "evaluate"), Clock())
    assert [old.asked + new.asked for old, new in zip(first, second, strict=True)] == [list(range(7)), list(range(10))]
    assert second[0].asked == []
    np.testing.assert_array_equal(resumed[1], straight[1])
    assert [len(table) for table in resumed] == [7, 10]
