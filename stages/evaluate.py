"""Stage ``evaluate``: how well the core's network does on the test set and on every pair of the pool."""

import csv
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages import figures, hardware
from stages.entry import run, whole, write_json
from stages.errors import UserError
from stages.params import load
from stages.progress import Progress
from stages.scores import SCORES, Fit, PixelCounts, dice, iou, tiered_iou
from stages.shards import read_file
from stages.store import Pairs

POOL = Path("data/train.zarr")
TEST = Path("data/test.zarr")
MODEL = Path("models/core.keras")
CORE_TABLE = Path("data/core.csv")
METRICS = Path("metrics/evaluate.json")
DISTRIBUTION = Path("metrics/plots/scores.csv")

LINE_BYTES = 128  # most of a line of the core's table; the numbers in it take half as much


class Predictor(Protocol):
    """What is needed of a network: a set, and how the predictions of its pairs fit."""

    pairs: Pairs

    def fits(self, positions: Sequence[int]) -> Iterator[Fit]: ...


def main() -> None:
    """Write the metrics, and the distribution of scores of test, rejected and chosen pairs."""
    started = time.perf_counter()
    params = load("evaluate")
    assert params.score is not None  # nulls are replaced
    pool, test = Pairs(POOL), Pairs(TEST)
    chosen = read_rows(CORE_TABLE, len(pool))
    threads = hardware.set_up_tensorflow()
    from stages import learner, networks  # import TensorFlow, which takes seconds that bad input need not wait for

    network = networks.load(MODEL)
    pair_score = SCORES[params.score]
    with whole(METRICS, DISTRIBUTION) as (metrics, distribution):
        with Progress("evaluate", len(test) + len(pool), "pair") as progress:
            test_fit = _fit(learner.Predictor(network, test), progress, 0)
            pool_fit = _fit(learner.Predictor(network, pool), progress, len(test))
        rejected = np.setdiff1d(np.arange(len(pool)), chosen)
        parts = {
            "test": test_fit,
            "rejected": _take(pool_fit, rejected),
            "chosen": _take(pool_fit, chosen),
        }
        scores = {name: pair_score(fit.mask) for name, fit in parts.items()}
        figures.write_distribution(distribution, scores)
        write_json(
            metrics,
            {
                **{name: summarize(fit, scores[name], params.bar) for name, fit in parts.items()},
                "bar": params.bar,
                "seconds": round(time.perf_counter() - started, 1),
                "threads": threads,
            },
        )


def summarize(fit: Fit, scores: np.ndarray, bar: float) -> dict[str, Any]:
    """The figures of one kind of pairs.

    Parameters
    ----------
    fit : Fit
        Of its pairs.
    scores : ndarray of float64, shape (n,)
        What the walk goes by; the same as ``tiered_iou`` where that is the score.
    bar : float
        Below it a pair fails.

    Returns
    -------
    dict
        ``pairs`` alone where there are none.
    """
    if not len(scores):
        return {"pairs": 0}
    overlap = iou(fit.mask)
    hit, false, missed, right = (int(count.sum()) for count in fit.mask)
    return {
        "pairs": len(scores),
        "score": float(scores.mean()),
        "min_score": float(scores.min()),
        "below_bar": int((scores < bar).sum()),
        "tiered_iou": float(tiered_iou(fit.mask).mean()),
        "soft_tiered_iou": float(tiered_iou(fit.soft).mean()),
        "mean_iou": float(overlap.mean()),
        "min_iou": float(overlap.min()),
        "mean_dice": float(dice(fit.mask).mean()),
        "true_positive": hit,
        "false_positive": false,
        "false_negative": missed,
        "true_negative": right,
    }


def read_rows(path: Path, count: int) -> np.ndarray:
    """The rows of the core in a table that ``select`` wrote.

    Parameters
    ----------
    path : Path
        The table.
    count : int
        Pairs of the pool.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    UserError
        If it is missing or not such a table of rows below ``count``.
    """
    if not path.exists():
        raise UserError(f"{path}: missing; `dvc checkout {path}` or `dvc repro` brings it back")
    try:
        table = read_file(path, LINE_BYTES * (count + 1)).decode("utf-8")
        return np.array(_parse_rows(table, count), dtype=np.int64)
    except (UserError, ValueError, csv.Error) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path}: not a table of a core: {reason}; `dvc checkout --force {path}` restores it") from None


def _parse_rows(table: str, count: int) -> list[int]:
    lines = csv.reader(io.StringIO(table, newline=""))
    header = next(lines, [])
    if header.count("row") != 1:
        raise ValueError("its first line has no column 'row', or more than one")
    column = header.index("row")
    rows: dict[int, int] = {}  # and the line that each stands in
    for line in lines:
        text = line[column] if len(line) == len(header) else ""
        if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < count):
            raise ValueError(
                f"line {lines.line_num} holds {repr(line)[:80]}, expected {len(header)} columns "
                f"with a row from 0 to {count - 1}, those of {POOL}"
            )
        if int(text) in rows:
            raise ValueError(f"row {text} stands in line {rows[int(text)]} and in line {lines.line_num}")
        rows[int(text)] = lines.line_num
    if not rows:
        raise ValueError("it holds no rows")
    return list(rows)


def _fit(predictor: Predictor, progress: Progress, done: int) -> Fit:
    """How the predictions of a whole set fit."""
    blocks = []
    for block in predictor.fits(range(len(predictor.pairs))):
        blocks.append(block)
        done += len(block.mask.true_positive)
        progress.show(done)
    return Fit(*(PixelCounts(*map(np.concatenate, zip(*parts, strict=True))) for parts in zip(*blocks, strict=True)))


def _take(fit: Fit, rows: np.ndarray) -> Fit:
    return Fit(*(PixelCounts(*(count[rows] for count in counts)) for counts in fit))


if __name__ == "__main__":
    run("evaluate", main)
