"""Scores against the formulas written out for one pair at a time, on masks."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.learning.scores import ClassFit, LabelFit, MaskFit, PixelCounts, dice, iou, score_of, tiered_iou

MASK_SCORES = ("tiered_iou", "iou", "dice")
counts_of_pixels = st.tuples(*[st.integers(0, 70_000)] * 4)
fields = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(*[st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape))] * 2)
)


def count(*pairs: tuple[Any, Any]) -> PixelCounts:
    """Pixel counts of pairs of a true mask and a prediction, masks or probabilities."""
    columns = [
        [float(sum(t * p for t, p in zip(truth, predicted, strict=True))) for truth, predicted in pairs],
        [float(sum((1 - t) * p for t, p in zip(truth, predicted, strict=True))) for truth, predicted in pairs],
        [float(sum(t * (1 - p) for t, p in zip(truth, predicted, strict=True))) for truth, predicted in pairs],
        [float(sum((1 - t) * (1 - p) for t, p in zip(truth, predicted, strict=True))) for truth, predicted in pairs],
    ]
    return PixelCounts(*(np.array(column) for column in columns))


def one(hit: float, false: float, missed: float, right: float = 0) -> PixelCounts:
    return PixelCounts(*(np.array([number]) for number in (hit, false, missed, right)))


def article_s_score(truth: Any, predicted: Any) -> float:
    """The tiered IoU of one pair, step by step in Python's own double precision."""
    true_pixels, predicted_pixels = float(sum(truth)), float(sum(predicted))
    if true_pixels == 0:
        return float(predicted_pixels == 0)
    both = float(sum(t * p for t, p in zip(truth, predicted, strict=True)))
    overlap = both / (true_pixels + predicted_pixels - both)
    return math.floor(max(0, (overlap - 0.45) * 20)) / 10


@given(st.lists(fields, min_size=1, max_size=6))
def test_the_tiered_iou_of_masks_is_the_article_s(pairs: list[tuple[list[bool], list[bool]]]) -> None:
    assert tiered_iou(count(*pairs)).tolist() == [article_s_score(*pair) for pair in pairs]


@given(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(0, 20_000))
def test_the_tiered_iou_of_large_masks_is_the_article_s(hit: int, false: int, missed: int) -> None:
    if hit + missed:
        expected = math.floor(max(0, (hit / (hit + false + missed) - 0.45) * 20)) / 10
        assert tiered_iou(one(hit, false, missed)).item() == expected


def test_the_steps_fall_where_double_precision_puts_them_for_every_fraction() -> None:
    for union in range(1, 401):
        hit = np.arange(union + 1)
        counts = PixelCounts(hit, np.zeros_like(hit), union - hit, np.zeros_like(hit))
        expected = [math.floor(max(0, (part / union - 0.45) * 20)) / 10 for part in range(union + 1)]
        assert tiered_iou(counts).tolist() == expected


@pytest.mark.parametrize(
    ("hit", "union", "expected"),
    [
        (1, 2, 0.0),
        (50, 100, 0.0),
        (51, 100, 0.1),
        (11, 20, 0.2),
        (3, 5, 0.2),
        (9, 10, 0.9),
        (899, 1000, 0.8),
        (19, 20, 0.9),
        (951, 1000, 1.0),
        (9999, 10_000, 1.0),
        (1, 1, 1.1),
        (16_384, 16_384, 1.1),
        (0, 7, 0.0),
        (45, 100, 0.0),
    ],
)
@pytest.mark.parametrize("kind", [np.int64, np.float32, np.float64])
def test_the_edges_of_the_tiered_iou(hit: int, union: int, expected: float, kind: type) -> None:
    counts = PixelCounts(*(np.array([number], kind) for number in (hit, 0, union - hit, 5)))
    score = tiered_iou(counts)
    assert score.item() == expected
    assert score.dtype == np.float64


@pytest.mark.parametrize("score", MASK_SCORES)
@pytest.mark.parametrize(("false", "expected"), [(0, 1.0), (1, 0.0), (500, 0.0)])
def test_an_empty_true_mask_scores_one_only_if_nothing_is_predicted(score: str, false: int, expected: float) -> None:
    assert score_of(score)(MaskFit(one(0, false, 0, 100))).item() == expected


@pytest.mark.parametrize(("score", "perfect"), [("tiered_iou", 1.1), ("iou", 1.0), ("dice", 1.0)])
def test_a_perfect_prediction_scores_the_best_and_none_the_worst(score: str, perfect: float) -> None:
    assert score_of(score)(MaskFit(one(40, 0, 0, 60))).item() == perfect
    assert score_of(score)(MaskFit(one(0, 0, 40, 60))).item() == 0
    assert score_of(score)(MaskFit(one(0, 40, 40, 20))).item() == 0


@given(counts_of_pixels)
def test_iou_and_dice_are_their_formulas(counts: tuple[int, int, int, int]) -> None:
    hit, false, missed, _ = counts
    if hit + missed:
        assert iou(one(*counts)).item() == hit / (hit + false + missed)
        assert dice(one(*counts)).item() == pytest.approx(2 * hit / (2 * hit + false + missed), rel=1e-14)


def test_pairs_are_scored_each_by_itself() -> None:
    pairs = [([1, 1, 0, 0], [1, 1, 0, 0]), ([1, 1, 0, 0], [1, 0, 0, 0]), ([0, 0, 0, 0], [0, 0, 0, 1])]
    assert iou(count(*pairs)).tolist() == [1.0, 0.5, 0.0]
    assert tiered_iou(count(*pairs)).tolist() == [1.1, 0.0, 0.0]
    assert dice(count(*pairs)).tolist() == pytest.approx([1, 2 / 3, 0])


def test_soft_counts_are_scored_by_the_sums_of_probabilities() -> None:
    truth, predicted = [1, 1, 0, 0], [0.75, 1, 0.25, 0]
    counts = count((truth, predicted))
    assert [column.item() for column in counts] == [1.75, 0.25, 0.25, 1.75]
    assert iou(counts).item() == pytest.approx(1.75 / 2.25)
    assert tiered_iou(counts).item() == article_s_score(truth, predicted) == 0.6
    assert tiered_iou(count(([0, 0], [0.1, 0]))).item() == 0


@given(counts_of_pixels)
def test_no_score_passes_its_best(counts: tuple[int, int, int, int]) -> None:
    for name, best in (("tiered_iou", 1.1), ("iou", 1.0), ("dice", 1.0)):
        assert 0 <= score_of(name)(MaskFit(one(*counts))).item() <= best


def test_a_class_is_hit_where_no_other_is_as_likely() -> None:
    fit = LabelFit(np.array([0.4, 0.4, 0.3, 1.0]), np.array([0.3, 0.4, 0.6, 0.0]))
    assert score_of("hit_rate")(fit).tolist() == [1, 0, 0, 1]
    assert score_of("true_probability")(fit).tolist() == [0.4, 0.4, 0.3, 1.0]


def test_a_table_of_fits_tells_them_again() -> None:
    masks = MaskFit(one(1, 2, 3, 4), np.array([0.75]), one(0.5, 0.25, 3, 1), np.array([0.125]))
    labels = LabelFit(np.array([0.5]), np.array([0.25]), np.array([0.375]))
    assert masks.table().tolist() == [[1, 2, 3, 4, 0.75, 0.5, 0.25, 3, 1, 0.125]]
    assert MaskFit.from_table(masks.table()) == masks
    assert LabelFit.from_table(labels.table()) == labels


def classes(*pairs: tuple[list[int], list[int]], count: int = 3) -> ClassFit:
    """The fit of true and predicted classes of pixels."""
    truth, found = (np.eye(count)[np.array(part)] for part in zip(*pairs, strict=True))
    both = (truth * found).sum(axis=1)
    expected = np.linspace(0, 1, len(pairs))
    return ClassFit(both, found.sum(axis=1) - both, truth.sum(axis=1) - both, expected)


@pytest.mark.parametrize("name", MASK_SCORES)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_one_class_beside_the_background_scores_as_a_mask_does(name: str, pixels: list[tuple[int, int]]) -> None:
    truth, found = (list(part) for part in zip(*pixels, strict=True))
    of_mask = score_of(name)(MaskFit(count((truth, found)))).item()
    assert score_of(name)(classes((truth, found), count=2)).item() == pytest.approx(of_mask, abs=1e-15)


def test_classes_are_scored_by_the_mean_or_the_worst_of_those_that_are_there() -> None:
    fit = classes(
        ([1, 1, 2, 2, 0, 0], [1, 1, 2, 0, 0, 0]),  # all of class 1, half of class 2
        ([1, 1, 0, 0, 0, 0], [1, 1, 2, 0, 0, 0]),  # class 2 is nowhere, and found
        ([1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]),  # class 2 is nowhere, and not found
        ([0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
    )
    assert score_of("iou")(fit).tolist() == pytest.approx([0.75, 0.5, 1, 1])
    assert score_of("worst_class_iou")(fit).tolist() == pytest.approx([0.5, 0, 1, 1])
    assert score_of("dice")(fit).tolist() == pytest.approx([(1 + 2 / 3) / 2, 0.5, 1, 1])
    assert score_of("tiered_iou")(fit).tolist() == pytest.approx([0.55, 0.55, 1.1, 1])
    assert fit.closeness().tolist() == score_of("iou")(fit).tolist()
    assert ClassFit.from_table(fit.table()).table().tolist() == fit.table().tolist()


def test_the_background_is_one_of_the_classes_if_it_is_asked_for() -> None:
    fit = classes(([1, 1, 0, 0], [1, 0, 0, 0]))
    assert score_of("iou")(fit).item() == 0.5
    assert score_of("iou", background=True)(fit).item() == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert score_of("worst_class_iou", background=True)(fit).item() == 0.5
