"""What the evaluation reads and what it makes of the fits; the plot data."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import audit, evaluate
from stages.evaluate import JUDGES, Rated, _fit, _suspects, _tabulate
from stages.learning.figures import distribution, of_each_class, shares_below, summarize
from stages.learning.predictor import Predictor
from stages.learning.saving import load_network
from stages.learning.scores import (
    ClassFit,
    Fit,
    LabelFit,
    MaskFit,
    PixelCounts,
    hit_rate,
    score_of,
    tiered_iou,
)
from stages.pairs.layout import Origins, PixelClass
from stages.pairs.read import Pairs
from stages.pairs.tables import lines_of, read_rows, write_csv
from stages.pipeline import paths
from stages.pipeline.checkpoints import Checkpoint
from stages.pipeline.errors import UserError
from stages.pipeline.files import read_arrays, read_output
from tests import pixelwise
from tests.conftest import Change
from tests.sets import write_set


def counts(*pairs: tuple[float, float, float, float]) -> PixelCounts:
    return PixelCounts(*(np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True)))


def test_the_summary_of_three_pairs() -> None:
    mask = counts((90, 5, 5, 900), (50, 50, 0, 900), (0, 0, 0, 1000))
    soft = counts((80, 10, 15, 895), (50, 50, 0, 900), (0, 1, 0, 999))
    fit = MaskFit(mask, np.ones(3), soft, np.array([0.5, 0.25, 0.0]))
    summary = summarize(fit, tiered_iou(mask), bar=0.85)
    assert summary == {
        "pairs": 3,
        "score": pytest.approx((0.9 + 0.0 + 1.0) / 3),
        "min_score": 0.0,
        "below_bar": 1,
        "foreground_pairs": 2,
        "foreground_score": pytest.approx((0.9 + 0.0) / 2),
        "foreground_below_bar": 1,
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


def test_the_summary_of_masks_of_classes() -> None:
    """Two pairs: one with a road of which half is found, and a car; one where a car is found that is not there."""
    fit = ClassFit(
        np.array([[80.0, 10, 5], [98, 0, 0]]), np.array([[10.0, 0, 0], [0, 0, 2]]), np.array([[0.0, 10, 0], [2, 0, 0]])
    )
    scores = score_of("worst_class_iou")(fit)
    assert summarize(fit, scores, bar=0.4) == {
        "pairs": 2,
        "score": 0.25,
        "min_score": 0.0,
        "below_bar": 1,
        "foreground_pairs": 1,
        "foreground_score": 0.5,
        "foreground_below_bar": 0,
        "tiered_iou": pytest.approx((0.1 * 0 + 1.1) / 4),
        "iou": pytest.approx(0.75 / 2),
        "dice": pytest.approx((2 / 3 + 1) / 4),
        "worst_class_iou": 0.25,
    }
    classes = [PixelClass(name, place, "#000000") for place, name in enumerate(("background", "road", "car"))]
    found = of_each_class(fit, classes, background=False)
    assert found["class_mean_iou"] == pytest.approx((0.5 + 5 / 7) / 2)
    assert found["classes"]["road"] == pytest.approx(
        {"pairs": 1, "iou": 0.5, "dice": 2 / 3, "precision": 1.0, "recall": 0.5}
    )
    assert found["classes"]["car"] == pytest.approx(
        {"pairs": 1, "iou": 5 / 7, "dice": 10 / 12, "precision": 5 / 7, "recall": 1.0}
    )
    with_background = of_each_class(fit, classes, background=True)["class_mean_iou"]
    assert with_background == pytest.approx((178 / 190 + 0.5 + 5 / 7) / 3)


def test_a_class_that_is_nowhere_has_no_figures_and_no_part_in_the_mean() -> None:
    fit = ClassFit(np.array([[90.0, 10, 0]]), np.zeros((1, 3)), np.zeros((1, 3)))
    classes = [PixelClass(name, place, "#000000") for place, name in enumerate(("background", "road", "car"))]
    found = of_each_class(fit, classes, background=False)
    assert found["classes"]["car"] == {"pairs": 0, "iou": None, "dice": None, "precision": None, "recall": None}
    assert found["class_mean_iou"] == 1


def test_the_summary_of_no_pairs() -> None:
    empty = PixelCounts(*(np.zeros(0) for _ in range(4)))
    assert summarize(MaskFit(empty), np.zeros(0), bar=0.5) == {"pairs": 0}


def test_the_rows_of_a_core_are_read_in_their_order(tmp_path: Path) -> None:
    table = tmp_path / "core.csv"
    table.write_text("row,order,score,epochs\n7,0,,0\n2,1,0.5,3\n")
    assert read_output(table, read_rows, 8).tolist() == [7, 2]


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
        read_output(table, read_rows, 8)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        read_output(tmp_path / "core.csv", read_rows, 8)


def test_the_distribution_counts_each_score_in_its_step() -> None:
    columns = distribution({"test": np.array([0.0, 0.3, 0.1 + 0.2, 1.1]), "chosen": np.zeros(0)})
    assert list(columns) == ["score", "test", "chosen"]
    assert columns["score"] == pytest.approx([step / 10 for step in range(12)])
    shares = dict(zip(columns["score"], columns["test"], strict=True))
    assert {step: share for step, share in shares.items() if share} == {0.0: 0.25, 0.3: 0.5, 1.1: 0.25}
    assert columns["chosen"] == [0.0] * 12


def test_shares_below_a_score_grow_from_none_to_all() -> None:
    below = shares_below(np.array([0.0, 0.3, 0.1 + 0.2, 0.95]))
    assert below == [0, *[0.25] * 3, *[0.75] * 6, 1, 1]


class Counting:
    """A predictor whose fits tell positions; it is interrupted before some block."""

    def __init__(self, stop_before: int | None = None) -> None:
        self.stop_before = stop_before
        self.asked: list[int] = []

    def expect(self, positions: np.ndarray) -> None:
        """Nothing is begun with ahead."""

    def fits(self, positions: np.ndarray) -> Iterator[Fit]:
        for start in range(0, len(positions), 3):
            block = np.array(positions[start : start + 3], dtype=np.float64)
            if self.stop_before is not None and block[0] >= self.stop_before:
                raise KeyboardInterrupt
            self.asked.extend(block.astype(int).tolist())
            yield MaskFit(PixelCounts(*[block] * 4), block, PixelCounts(*[block + 0.5] * 4), block)


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINCORE_CHECKPOINT_SECONDS", "0")
    (tmp_path / "straight").mkdir()
    first, second, undisturbed = ([Counting(), Counting(stop)] for stop in (6, None, None))
    verified = {"rows": np.array([3, 8]), "fits": np.array([[3.0] * 10, [8.0] * 10])}

    def fitted(predictors: list[Counting], folder: Path) -> np.ndarray:
        rows = {"test": np.arange(7), "rejected": np.array([2, 3, 4, 5, 6, 7, 8, 9]), "chosen": np.array([1, 0])}
        return _fit(predictors, _tabulate(rows, 10, verified), Checkpoint(folder, "evaluate"))

    straight = fitted(undisturbed, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        fitted(first, tmp_path)
    resumed = fitted(second, tmp_path)
    asked = [old.asked + new.asked for old, new in zip(first, second, strict=True)]
    assert asked == [[*range(7)], [2, 4, 5, 6, 7, 9, 1, 0]]
    assert second[0].asked == []
    np.testing.assert_array_equal(resumed, straight)
    assert resumed[:, 0].tolist() == [*range(7), *range(2, 10), 1, 0]


def test_suspects_are_all_pairs_those_first_that_are_contradicted_most_and_what_judged_them() -> None:
    rejected = Rated(np.array([2, 6, 9, 4]), np.array([0.75, 0.75, 0.0, 0.5]), np.array([0.2, 0.25, 0.9, 0.4]))
    judged = Rated(np.array([5, 3, 2, 4]), np.array([0.25, 0.75, 1.0, 0.25]), np.array([0.75, 0.25, -0.5, 0.5]))
    core, fold, none = range(3)
    assert [JUDGES[core], JUDGES[fold], JUDGES[none]] == ["core", "fold", "none"]
    assert list(lines_of(*_suspects(rejected, judged, np.array([7, 5, 3, 1])))) == [
        (9, 0.0, 0.9, core),
        (5, 0.25, 0.75, fold),
        (4, 0.5, 0.4, core),  # the better judgement
        (6, 0.75, 0.25, core),
        (3, 0.75, 0.25, fold),
        (2, 1.0, -0.5, fold),
        (7, None, None, none),
        (1, None, None, none),
    ]
    hard = judged._replace(rows=np.array([5, 3, 2, 8]), shortfalls=np.zeros(4))
    others = rejected._replace(rows=np.array([1, 6, 9, 4]), scores=np.full(4, 0.75))
    assert next(lines_of(*_suspects(others, hard, np.array([2])))) == (9, 0.75, 0.9, core)  # the score is not the worst


judgements = st.dictionaries(st.integers(0, 9), st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 2))


@given(judgements, judgements, st.lists(st.integers(0, 12), unique=True))
def test_suspects_are_in_the_order_of_the_better_of_their_judgements(
    rejected: dict[int, tuple[float, float]], judged: dict[int, tuple[float, float]], chosen: list[int]
) -> None:
    best = {
        row: min((table[row][1], -table[row][0], -by) for by, table in enumerate((rejected, judged)) if row in table)
        for row in {*rejected, *judged}
    }
    worst = sorted(sorted(best), key=lambda row: best[row], reverse=True)
    first = [(row, -best[row][1], best[row][0], -best[row][2]) for row in worst]
    both = [
        Rated(np.array([*table], np.int64), *np.array([*table.values()], float).reshape(-1, 2).T)
        for table in (rejected, judged)
    ]
    expected = [*first, *((row, None, None, 2) for row in chosen if row not in best)]
    assert list(lines_of(*_suspects(both[0], both[1], np.array(chosen, np.int64)))) == expected


POOL, TEST = 6, 5
LEAKING = [1, 3]  # rows of the test set
LEAK_LINES = [
    ["pool", 0, "pool", 5, "near", 0, 0, 0.8],
    ["pool", 0, "test", 3, "near", 0, 0, 0.9],
    ["pool", 2, "test", 1, "exact", 0, 0, 1.0],
    ["pool", 4, "test", 3, "shifted", 2, 0, 0.7],
    ["test", 0, "test", 2, "exact", 0, 0, 1.0],
]


def half_bright(count: int) -> np.ndarray:
    """Images whose left half the pixelwise network finds."""
    images = np.full((count, 16, 16, 3), 50, np.uint8)
    images[:, :, :8] = 200
    return images


def masks(*columns: int) -> np.ndarray:
    """Masks of some first columns, for each pair."""
    return (np.arange(16)[None, :] < np.array(columns)[:, None])[:, None, :, None].repeat(16, axis=1).astype(np.uint8)


@pytest.fixture
def stage(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that stage evaluate reads: the leaking test pairs are predicted rightly, others have an IoU of a half."""
    monkeypatch.setattr(evaluate, "set_up_tensorflow", lambda: 1)
    origins = Origins(
        [[f"images/{row}.png"] for row in range(POOL)], np.array([[row, 0, row, 0] for row in range(POOL)])
    )
    write_set(paths.POOL, half_bright(POOL), masks(8, 8, 4, 16, 8, 2), origins=origins)
    write_set(paths.TEST, half_bright(TEST), masks(*(8 if row in LEAKING else 16 for row in range(TEST))))
    pixelwise.save(pixelwise.network())
    write_csv(paths.CORE_TABLE, ["row", "order", "score", "epochs"], [(1, 0, None, 0)])
    save_arrays(paths.JUDGED, judged_of([], []))
    np.savez(paths.VERIFIED, rows=np.empty(0, np.int64), fits=np.empty((0, 0)))
    write_csv(paths.LEAKS, audit.HEADER, LEAK_LINES)
    folder = workspace / "stages/none"
    folder.mkdir()
    (folder / "pairs.csv").write_text("row\n")
    return workspace


def judged_of(rows: list[int], scores: list[float]) -> dict[str, np.ndarray]:
    """What stage judge finds of some chosen pairs, sure that they score 1; it predicts nothing for them."""
    return {
        "rows": np.array(rows, np.int64),
        "scores": np.array(scores, np.float64),
        "shortfalls": 1 - np.array(scores, np.float64),
        "pictured": np.array(rows, np.int64),
        "predictions": np.zeros((len(rows), 16, 16, 1), np.float32),
    }


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, **arrays)  # type: ignore[arg-type]


def figures() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(paths.EVALUATE_METRICS.read_text())
    return values


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_pairs_that_were_verified_are_not_predicted_again(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate.main()
    expected, suspects = figures(), paths.SUSPECTS.read_bytes()
    pool = Predictor(load_network(paths.CORE_MODEL), Pairs(paths.POOL))
    rows = np.array([4, 0, 3])
    np.savez(paths.VERIFIED, rows=rows, fits=np.concatenate([fit.table() for fit in pool.fits(rows)]))
    asked: list[list[int]] = []
    fits = Predictor.fits

    def watched(self: Predictor, rows: np.ndarray) -> Iterator[Fit]:
        asked.append(rows.tolist())
        return fits(self, rows)

    monkeypatch.setattr(Predictor, "fits", watched)
    evaluate.main()
    assert {**figures(), "seconds": 0} == {**expected, "seconds": 0}
    assert paths.SUSPECTS.read_bytes() == suspects
    assert asked == [list(range(TEST)), [2, 5, 1]]  # the core comes last


def test_chosen_pairs_stand_among_the_suspects_with_what_the_networks_say_that_did_not_learn_them(
    stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_arrays(paths.JUDGED, judged_of([1, 3], [0.0, 1.0]))
    monkeypatch.setattr(evaluate, "SHOWN", 2)
    evaluate.main()
    judged = [[row, score, by] for row, score, _, by, *_ in read_csv(paths.SUSPECTS)]
    assert judged[1:3] == [["1", "0.0", "fold"], ["5", "0.0", "core"]]
    assert ["3", "1.0", "fold"] in judged
    worst = read_output(paths.WORST, read_arrays)
    assert worst["suspects_lines"].tolist() == [0, 1]
    found, of_core = worst["suspects_predictions"]
    assert not found.any()
    assert of_core.any()
    save_arrays(paths.JUDGED, judged_of([1, 3], [0.0, 1.0]) | {"pictured": np.array([5]), "predictions": found[None]})
    evaluate.main()
    worst = read_output(paths.WORST, read_arrays)
    assert worst["suspects_lines"].tolist() == [
        1
    ]  # of the first nothing is kept, and what judged the second is the core's network
    assert worst["suspects_predictions"][0].tobytes() == of_core.tobytes()


@pytest.mark.parametrize(
    "changes", [{"rows": np.array([POOL])}, {"rows": np.array([1, 2])}, {"pictured": np.array([])}]
)
def test_judgements_of_other_pairs_end_in_one_line(stage: Path, changes: dict[str, np.ndarray]) -> None:
    save_arrays(paths.JUDGED, judged_of([1], [0.0]) | changes)
    with pytest.raises(UserError, match=r"^data/judged\.npz: damaged: .*; `dvc checkout --force .*` restores it$"):
        evaluate.main()


@pytest.mark.parametrize(
    "arrays",
    [
        {"rows": np.array([1])},
        {"rows": np.array([1]), "fits": np.empty((2, 9))},
        {"rows": np.array([POOL]), "fits": np.empty((1, 9))},
        {"rows": np.array([-1]), "fits": np.empty((1, 9))},
    ],
)
def test_fits_of_other_pairs_end_in_one_line(stage: Path, arrays: dict[str, np.ndarray]) -> None:
    save_arrays(paths.VERIFIED, arrays)
    with pytest.raises(UserError, match=r"^data/verified\.npz: damaged: .*; `dvc checkout --force .*` restores it$"):
        evaluate.main()


def test_leaking_test_pairs_are_counted_and_stay(stage: Path) -> None:
    evaluate.main()
    assert figures()["leaks"] == {"test_pairs": 2, "dropped": 0}
    test = figures()["test"]
    assert (test["pairs"], test["mean_iou"], test["true_positive"]) == (5, (2 * 1 + 3 * 0.5) / 5, 5 * 128)


def test_leaking_test_pairs_are_dropped_from_all_figures_of_the_test_set(stage: Path, change: Change) -> None:
    evaluate.main()
    report, shares = figures(), read_csv(paths.SCORES_CURVE)
    change(**{"evaluate.on_leak": "drop"})
    evaluate.main()
    dropped = figures()
    assert dropped["leaks"] == {"test_pairs": 2, "dropped": 2}
    assert (dropped["test"]["pairs"], dropped["test"]["mean_iou"], dropped["test"]["below_bar"]) == (3, 0.5, 3)
    assert (dropped["test"]["true_positive"], dropped["test"]["false_negative"]) == (3 * 128, 3 * 128)
    assert [dropped[name] for name in ("rejected", "chosen")] == [report[name] for name in ("rejected", "chosen")]
    perfect, none = shares[-1], shares[1]
    assert (shares[0][:2], perfect[:2], none[:2]) == (["score", "test"], ["1.1", "0.4"], ["0.0", "0.6"])
    assert [line[1] for line in read_csv(paths.SCORES_CURVE)[1:]] == ["1.0", *["0.0"] * 11]


def test_an_interrupted_evaluation_does_not_go_on_with_other_leaks(
    stage: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(**{"evaluate.on_leak": "drop"})
    monkeypatch.setenv("TRAINCORE_CHECKPOINT_SECONDS", "0")
    save = Checkpoint.save

    def cut(self: Checkpoint, state: Any) -> None:
        save(self, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            evaluate.main()
    write_csv(paths.LEAKS, audit.HEADER, LEAK_LINES[:1])
    evaluate.main()
    found = figures()
    shutil.rmtree(".traincore")
    evaluate.main()
    assert {**figures(), "seconds": 0} == {**found, "seconds": 0}


def test_a_test_set_that_leaks_whole_has_no_figures_once_it_is_dropped(stage: Path, change: Change) -> None:
    change(**{"evaluate.on_leak": "drop"})
    write_csv(paths.LEAKS, audit.HEADER, [["pool", 0, "test", row, "exact", 0, 0, 1.0] for row in range(TEST)])
    evaluate.main()
    assert figures()["test"] == {"pairs": 0}
    assert figures()["leaks"] == {"test_pairs": TEST, "dropped": TEST}


def test_a_leak_ends_in_one_line_before_anything_is_predicted(
    stage: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network is not to be read")

    change(**{"evaluate.on_leak": "fail"})
    with monkeypatch.context() as patch:
        patch.setattr("stages.learning.saving.load_network", refuse)
        with pytest.raises(UserError) as caught:
            evaluate.main()
    assert str(caught.value) == (
        "data/leaks.csv: 2 of 5 test pairs stand in the pool, too, or overlap with it, as row 1; "
        "evaluate.on_leak=drop leaves them out, report only counts them"
    )
    assert not paths.EVALUATE_METRICS.exists()
    write_csv(paths.LEAKS, audit.HEADER, [line for line in LEAK_LINES if line[0] == line[2]])
    evaluate.main()  # copies within the pool or within the test set are no leaks
    assert figures()["leaks"] == {"test_pairs": 0, "dropped": 0}


def test_a_damaged_table_of_leaks_ends_the_stage_before_anything_is_predicted(stage: Path) -> None:
    paths.LEAKS.write_bytes(b"")
    with pytest.raises(UserError, match=r"^data/leaks\.csv: .*; `dvc checkout --force data/leaks\.csv` restores it$"):
        evaluate.main()
    assert not paths.EVALUATE_METRICS.exists()


def test_suspects_are_written_with_their_files_the_worst_first(stage: Path) -> None:
    (stage / "stages/none/pairs.csv").write_text("row\n4\n")
    evaluate.main()
    assert read_csv(paths.SUSPECTS) == [
        ["row", "score", "shortfall", "judged_by", "file", "top", "left", "page"],
        ["5", "0.0", "0.75", "core", "images/5.png", "0", "5", "0"],
        ["2", "0.0", "0.5", "core", "images/2.png", "0", "2", "0"],
        ["3", "0.0", "0.5", "core", "images/3.png", "0", "3", "0"],
        ["0", "1.1", "0.0", "core", "images/0.png", "0", "0", "0"],
        ["1", "", "", "none", "images/1.png", "0", "1", "0"],
    ]
    assert figures()["excluded"]["pairs"] == 1


def test_test_pairs_are_written_the_worst_first_without_those_that_were_dropped(stage: Path, change: Change) -> None:
    evaluate.main()
    assert [line[0] for line in read_csv(paths.TEST_SCORES)] == ["row", "0", "2", "4", "1", "3"]
    change(**{"evaluate.on_leak": "drop"})
    evaluate.main()
    assert read_csv(paths.TEST_SCORES) == [["row", "score"], ["0", "0.0"], ["2", "0.0"], ["4", "0.0"]]


def test_the_worst_predictions_are_kept_beside_their_lines(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "SHOWN", 3)
    evaluate.main()
    worst = read_output(paths.WORST, read_arrays)
    assert {name: array.tolist() for name, array in worst.items() if name.endswith("lines")} == {
        "suspects_lines": [0, 1, 2],
        "test_lines": [0, 1, 2],
    }
    assert [line[0] for line in read_csv(paths.SUSPECTS)[1:4]] == ["5", "2", "3"]
    assert [line[0] for line in read_csv(paths.TEST_SCORES)[1:4]] == ["0", "2", "4"]
    for name in ("suspects_predictions", "test_predictions"):
        assert (worst[name].shape, str(worst[name].dtype)) == ((3, 16, 16, 1), "float32")
        assert np.array_equal(worst[name] > 0.5, masks(8, 8, 8) > 0)


def test_without_test_pairs_none_is_kept(stage: Path, change: Change) -> None:
    change(**{"evaluate.on_leak": "drop"})
    write_csv(paths.LEAKS, audit.HEADER, [["pool", 0, "test", row, "exact", 0, 0, 1.0] for row in range(TEST)])
    evaluate.main()
    worst = read_output(paths.WORST, read_arrays)
    assert (worst["test_lines"].shape, worst["test_predictions"].shape) == ((0,), (0, 16, 16, 1))
