"""What the evaluation reads and what it makes of the fits; the plot data."""

import csv
from pathlib import Path

import numpy as np
import pytest

from stages.errors import UserError
from stages.evaluate import read_rows, summarize
from stages.figures import write_distribution
from stages.scores import Fit, PixelCounts, tiered_iou


def counts(*pairs: tuple[float, float, float, float]) -> PixelCounts:
    return PixelCounts(*(np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True)))


def test_the_summary_of_three_pairs() -> None:
    mask = counts((90, 5, 5, 900), (50, 50, 0, 900), (0, 0, 0, 1000))
    soft = counts((80, 10, 15, 895), (50, 50, 0, 900), (0, 1, 0, 999))
    summary = summarize(Fit(mask, soft), tiered_iou(mask), bar=0.85)
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
        "true_positive": 140,
        "false_positive": 55,
        "false_negative": 5,
        "true_negative": 2800,
    }


def test_the_summary_of_no_pairs() -> None:
    empty = PixelCounts(*(np.zeros(0) for _ in range(4)))
    assert summarize(Fit(empty, empty), np.zeros(0), bar=0.5) == {"pairs": 0}


def test_the_rows_of_a_core_are_read_in_their_order(tmp_path: Path) -> None:
    table = tmp_path / "core.csv"
    table.write_text("row,order,score,epochs\n7,0,,0\n2,1,0.5,3\n")
    assert read_rows(table, 8).tolist() == [7, 2]


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
        read_rows(table, 8)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        read_rows(tmp_path / "core.csv", 8)


def test_the_distribution_counts_each_score_in_its_step(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    write_distribution(path, {"test": np.array([0.0, 0.3, 0.1 + 0.2, 1.1]), "chosen": np.zeros(0)})
    with path.open(newline="") as file:
        lines = {float(line["score"]): line for line in csv.DictReader(file)}
    assert len(lines) == 12
    assert {step: float(line["test"]) for step, line in lines.items() if float(line["test"])} == {
        0.0: 0.25,
        0.3: 0.5,
        1.1: 0.25,
    }
    assert all(float(line["chosen"]) == 0 for line in lines.values())
