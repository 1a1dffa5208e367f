"""Stage ``evaluate``: how well the core's network does on the test set and on every pair of the pool."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages import figures, hardware
from stages.checkpoints import Checkpoint, Clock, State, checkpoint, digest
from stages.entry import run, whole, write_csv, write_json
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
    clock = Clock()
    params = load("evaluate")
    assert params.score is not None  # nulls are replaced
    pool, test = Pairs(POOL), Pairs(TEST)
    chosen = read_rows(CORE_TABLE, len(pool))
    threads = hardware.set_up_tensorflow()
    from stages import learner, networks  # import TensorFlow, which takes seconds that bad input need not wait for

    network = networks.load(MODEL)
    pair_score = SCORES[params.score]
    inputs = {"pool": pool.digest, "test": test.digest, "model": digest(MODEL), "core": digest(CORE_TABLE)}
    machine = {"threads": threads, "processor": hardware.processor()}
    with (
        checkpoint("evaluate", params, inputs, machine, keep=False) as saved,
        whole(METRICS, DISTRIBUTION) as (metrics, curve),
    ):
        hardware.require_space(METRICS, 200 * (len(pool) + len(test)))
        clock.go_on(saved.found)
        with Progress("evaluate", len(test) + len(pool), "pair") as progress:
            predictors = [learner.Predictor(network, test), learner.Predictor(network, pool)]
            test_fit, pool_fit = _fit(predictors, progress, saved, clock)
        rejected = np.setdiff1d(np.arange(len(pool)), chosen)
        parts = {
            "test": test_fit,
            "rejected": _take(pool_fit, rejected),
            "chosen": _take(pool_fit, chosen),
        }
        scores = {name: pair_score(fit.mask) for name, fit in parts.items()}
        columns = figures.distribution(scores)
        write_csv(curve, list(columns), list(zip(*columns.values(), strict=True)))
        write_json(
            metrics,
            {
                **{name: summarize(fit, scores[name], params.bar) for name, fit in parts.items()},
                "bar": params.bar,
                "seconds": clock.seconds(),
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


def _fit(predictors: Sequence[Predictor], progress: Progress, saved: Checkpoint, clock: Clock) -> list[Fit]:
    """How the predictions of whole sets fit, one set after the other, from where an interrupted run was."""
    sets = range(len(predictors))
    tables = [[saved.found.arrays[f"set {number}"]] if saved.found else [np.empty((0, 8))] for number in sets]
    done = sum(len(blocks[0]) for blocks in tables)
    if saved.found:
        progress.go_on(done)

    def state() -> State:
        return State({"seconds": clock.seconds()}, {f"set {number}": np.concatenate(tables[number]) for number in sets})

    for predictor, blocks in zip(predictors, tables, strict=True):
        for fit in predictor.fits(range(len(blocks[0]), len(predictor.pairs))):
            blocks.append(np.stack([*fit.mask, *fit.soft], axis=1))
            done += len(blocks[-1])
            progress.show(done)
            saved.save_if_due(state)
    columns = (np.concatenate(blocks).T for blocks in tables)
    return [Fit(PixelCounts(*column[:4]), PixelCounts(*column[4:])) for column in columns]


def _take(fit: Fit, rows: np.ndarray) -> Fit:
    return Fit(*(PixelCounts(*(count[rows] for count in counts)) for counts in fit))


if __name__ == "__main__":
    run("evaluate", main)
