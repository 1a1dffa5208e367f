"""Stage ``evaluate``: how well the core's network does on the test set and on every pair of the pool."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages import figures, hardware
from stages.entry import run, whole, write_json
from stages.errors import UserError
from stages.params import load
from stages.progress import Progress
from stages.scores import SCORES, PixelCounts, dice, iou, tiered_iou
from stages.store import Pairs

POOL = Path("data/train.zarr")
TEST = Path("data/test.zarr")
MODEL = Path("models/core.keras")
CORE_TABLE = Path("data/core.csv")
METRICS = Path("metrics/evaluate.json")
DISTRIBUTION = Path("metrics/plots/scores.csv")


class Fits(NamedTuple):
    """How the predictions of a set's pairs fit: pixel counts of the mask ``> 0.5`` and of the raw probabilities."""

    mask: PixelCounts
    soft: PixelCounts


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
            test_fits = _fits(learner.Predictor(network, test), progress, 0)
            pool_fits = _fits(learner.Predictor(network, pool), progress, len(test))
        rejected = np.setdiff1d(np.arange(len(pool)), chosen)
        parts = {
            "test": test_fits,
            "rejected": _take(pool_fits, rejected),
            "chosen": _take(pool_fits, chosen),
        }
        scores = {name: pair_score(fits.mask) for name, fits in parts.items()}
        figures.write_distribution(distribution, scores)
        write_json(
            metrics,
            {
                **{name: summarize(fits, scores[name], params.bar) for name, fits in parts.items()},
                "bar": params.bar,
                "seconds": round(time.perf_counter() - started, 1),
                "threads": threads,
            },
        )


def summarize(fits: Fits, scores: np.ndarray, bar: float) -> dict[str, Any]:
    """The figures of one kind of pairs.

    Parameters
    ----------
    fits : Fits
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
    overlap = iou(fits.mask)
    hit, false, missed, right = (int(count.sum()) for count in fits.mask)
    return {
        "pairs": len(scores),
        "score": float(scores.mean()),
        "min_score": float(scores.min()),
        "below_bar": int((scores < bar).sum()),
        "tiered_iou": float(tiered_iou(fits.mask).mean()),
        "soft_tiered_iou": float(tiered_iou(fits.soft).mean()),
        "mean_iou": float(overlap.mean()),
        "min_iou": float(overlap.min()),
        "mean_dice": float(dice(fits.mask).mean()),
        "true_positive": hit,
        "false_positive": false,
        "false_negative": missed,
        "true_negative": right,
    }


def read_rows(path: Path, count: int) -> np.ndarray:
    """The rows of the core in a table that ``select`` wrote.

    Raises
    ------
    UserError
        If it is missing or not such a table of rows below ``count``.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [int(line["row"]) for line in csv.DictReader(file)]
    except FileNotFoundError:
        raise UserError(f"{path}: missing; `dvc checkout {path}` or `dvc repro` brings it back") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a table of a core: {error}; `dvc checkout --force {path}` restores it") from None
    if len(set(rows)) != len(rows) or not all(0 <= row < count for row in rows):
        raise UserError(f"{path}: rows have to be different and from 0 to {count - 1}, those of {POOL}")
    return np.array(rows, dtype=np.int64)


def _fits(predictor: Any, progress: Progress, done: int) -> Fits:
    masks, softs = [], []
    for mask, soft in predictor.fits(range(len(predictor.pairs))):
        masks.append(mask)
        softs.append(soft)
        done += len(mask.true_positive)
        progress.show(done)
    return Fits(_join(masks), _join(softs))


def _join(parts: Sequence[PixelCounts]) -> PixelCounts:
    return PixelCounts(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _take(fits: Fits, rows: np.ndarray) -> Fits:
    return Fits(*(PixelCounts(*(count[rows] for count in counts)) for counts in fits))


if __name__ == "__main__":
    run("evaluate", main)
