"""Stage ``evaluate``: how well the core's network does on the test set and on every pair of the pool."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages import figures, hardware
from stages.checkpoints import Checkpoint, Clock, State, checkpoint, digest
from stages.cores import read_leaks, read_rows, read_scores, with_origins
from stages.entry import run, whole, write_csv, write_json
from stages.errors import UserError
from stages.outputs import read_output
from stages.params import load
from stages.progress import Progress
from stages.scores import FITS, SCORES, Fit, LabelFit, MaskFit, dice, hit_rate, iou, tiered_iou
from stages.store import Pairs

POOL = Path("data/train.zarr")
TEST = Path("data/test.zarr")
MODEL = Path("models/core.keras")
CORE_TABLE = Path("data/core.csv")
REJECTED = Path("data/rejected.csv")
LEAKS = Path("data/leaks.csv")
SUSPECTS = Path("data/suspects.csv")
TEST_SCORES = Path("data/test_scores.csv")
WORST = Path("data/worst.npz")
SUSPECT = ["row", "score", "score_when_rejected"]
METRICS = Path("metrics/evaluate.json")
DISTRIBUTION = Path("metrics/plots/scores.csv")
SHOWN = 20  # predictions that are kept to be looked at, of test and of rejected pairs each


class Predictor(Protocol):
    """What is needed of a network: a set, and how the predictions of its pairs fit."""

    pairs: Pairs

    def fits(self, positions: Sequence[int]) -> Iterator[Fit]: ...


def main() -> None:
    """Write the metrics, the scores of test and of rejected pairs, their distribution, and the worst predictions."""
    clock = Clock()
    params = load("evaluate")
    assert params.score is not None  # nulls are replaced
    pool, test = Pairs(POOL), Pairs(TEST)
    chosen = read_output(CORE_TABLE, read_rows, len(pool))
    rejecting = read_output(REJECTED, read_scores, len(pool))
    leaking = read_output(LEAKS, read_leaks, len(test))
    if len(leaking) and params.evaluate.on_leak == "fail":
        raise UserError(
            f"{LEAKS}: {len(leaking)} of {len(test)} test pairs stand in the pool, too, or overlap with it, as row "
            f"{leaking[0]}; evaluate.on_leak=drop leaves them out, report only counts them"
        )
    excluded = read_rows(Path(params.select.exclude), len(pool), least=0)
    threads = hardware.set_up_tensorflow()
    from stages import networks, predictor  # import TensorFlow, which takes seconds that bad input need not wait for

    network = networks.load(MODEL)
    pair_score = SCORES[params.score]
    inputs = {"pool": pool.digest, "test": test.digest, "model": digest(MODEL), "core": digest(CORE_TABLE)}
    machine = {"threads": threads, "processor": hardware.processor()}
    with (
        checkpoint("evaluate", params, inputs, machine, keep=False) as saved,
        whole(METRICS, DISTRIBUTION, SUSPECTS, TEST_SCORES, WORST) as (metrics, curve, suspects, test_scores, worst),
    ):
        hardware.require_space(METRICS, 200 * (len(pool) + len(test)))
        clock.go_on(saved.found)
        with Progress("evaluate", len(test) + len(pool), "pair") as progress:
            predictors = [predictor.Predictor(network, test), predictor.Predictor(network, pool)]
            test_table, pool_table = _fit(predictors, progress, saved, clock)
        rejected = np.setdiff1d(np.arange(len(pool)), np.concatenate([chosen, excluded]))
        dropped = leaking if params.evaluate.on_leak == "drop" else leaking[:0]
        test_table = np.delete(test_table, dropped, axis=0)
        tables = {"test": test_table, "rejected": pool_table[rejected], "chosen": pool_table[chosen]}
        if len(excluded):
            tables["excluded"] = pool_table[excluded]
        parts = {name: FITS[pool.layout.target].from_table(table) for name, table in tables.items()}
        scores = {name: pair_score(fit) for name, fit in parts.items()}
        kept = np.delete(np.arange(len(test)), dropped)
        suspected = _suspects(rejected, scores["rejected"], _closeness(parts["rejected"]), rejecting)
        tested = _lowest_first(kept, scores["test"], _closeness(parts["test"]))
        for table, header, lines, pairs in (
            (suspects, SUSPECT, suspected, pool),
            (test_scores, SUSPECT[:2], tested, test),
        ):
            write_csv(table, *with_origins(header, lines, [line[0] for line in lines], pairs.origins()))
        predictions = _predictions("rejected", network, pool, suspected) | _predictions("test", network, test, tested)
        np.savez_compressed(worst, allow_pickle=False, **predictions)
        of_pool = np.concatenate([found for name, found in scores.items() if name != "test"])
        columns = figures.distribution(scores) | {"pool_below": figures.shares_below(of_pool)}
        write_csv(curve, list(columns), list(zip(*columns.values(), strict=True)))
        write_json(
            metrics,
            {
                **{name: summarize(fit, scores[name], params.bar) for name, fit in parts.items()},
                "leaks": {"test_pairs": len(leaking), "dropped": len(dropped)},
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
        What the walk goes by; the same as ``tiered_iou`` or ``hit_rate`` where that is the score.
    bar : float
        Below it a pair fails.

    Returns
    -------
    dict
        ``pairs`` alone where there are none.
    """
    if not len(scores):
        return {"pairs": 0}
    return {
        "pairs": len(scores),
        "score": float(scores.mean()),
        "min_score": float(scores.min()),
        "below_bar": int((scores < bar).sum()),
        **(_of_masks(fit) if isinstance(fit, MaskFit) else _of_labels(fit)),
    }


def _of_masks(fit: MaskFit) -> dict[str, Any]:
    assert fit.soft is not None  # of whole sets all is computed
    assert fit.spread is not None
    overlap = iou(fit.mask)
    hit, false, missed, right = (int(count.sum()) for count in fit.mask)
    return {
        "tiered_iou": float(tiered_iou(fit.mask).mean()),
        "soft_tiered_iou": float(tiered_iou(fit.soft).mean()),
        "mean_iou": float(overlap.mean()),
        "min_iou": float(overlap.min()),
        "mean_dice": float(dice(fit.mask).mean()),
        "mean_spread": float(fit.spread.mean()),
        "true_positive": hit,
        "false_positive": false,
        "false_negative": missed,
        "true_negative": right,
    }


def _of_labels(fit: LabelFit) -> dict[str, Any]:
    return {
        "hit_rate": float(hit_rate(fit).mean()),
        "mean_true_probability": float(fit.true.mean()),
        "min_true_probability": float(fit.true.min()),
    }


def _closeness(fit: Fit) -> np.ndarray:
    """What tells pairs of one score apart, whose steps may be coarse: IoU, or the probability of the true class."""
    return iou(fit.mask) if isinstance(fit, MaskFit) else fit.true


def _suspects(
    rows: np.ndarray, scores: np.ndarray, closeness: np.ndarray, when_rejected: Mapping[int, float | None]
) -> list[tuple[int, float, float | None]]:
    """Rejected rows with their scores now and then, the lowest first: often it is the mask that is wrong."""
    return [(row, score, when_rejected.get(row)) for row, score in _lowest_first(rows, scores, closeness)]


def _lowest_first(rows: np.ndarray, scores: np.ndarray, closeness: np.ndarray) -> list[tuple[int, float]]:
    lowest = np.lexsort((closeness, scores))
    return list(zip(rows[lowest].tolist(), scores[lowest].tolist(), strict=True))


def _predictions(
    name: str, network: Any, pairs: Pairs, lines: Sequence[tuple[int, float, *tuple[float | None, ...]]]
) -> dict[str, np.ndarray]:
    """What a network says of the first of some rows: ``{name}_rows`` and ``{name}_predictions``, float32."""
    rows = np.array([line[0] for line in lines[:SHOWN]], dtype=np.int64)
    predicted = np.empty((0, *network.output_shape[1:]))
    if len(rows):
        predicted = network.predict_on_batch(pairs.read(rows).images / np.float32(pairs.layout.scale))
    return {f"{name}_rows": rows, f"{name}_predictions": np.asarray(predicted, np.float32)}


def _fit(predictors: Sequence[Predictor], progress: Progress, saved: Checkpoint, clock: Clock) -> list[np.ndarray]:
    """Tables of how the predictions of whole sets fit, one set after the other, from where an interrupted run was."""
    sets = range(len(predictors))
    found = saved.found.arrays if saved.found else {}
    tables = [[found[f"set {number}"]] if f"set {number}" in found else [] for number in sets]
    done = sum(len(block) for blocks in tables for block in blocks)
    if saved.found:
        progress.go_on(done)

    def state() -> State:
        arrays = {f"set {number}": np.concatenate(tables[number]) for number in sets if tables[number]}
        return State({"seconds": clock.seconds()}, arrays)

    for predictor, blocks in zip(predictors, tables, strict=True):
        for fit in predictor.fits(range(sum(map(len, blocks)), len(predictor.pairs))):
            blocks.append(fit.table())
            done += len(blocks[-1])
            progress.show(done)
            saved.save_if_due(state)
    return [np.concatenate(blocks) for blocks in tables]


if __name__ == "__main__":
    run("evaluate", main)
