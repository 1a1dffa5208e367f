"""Stage ``evaluate``: how well the core's network does on the test set and on every pair of the pool."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from stages.learning.bounds import bound_by_test
from stages.learning.figures import of_each_class, summarize
from stages.learning.protocol import SHOWN
from stages.learning.scores import FITS, ClassFit, Fit, distribution, score_of, shares_below
from stages.learning.tensorflow import processor, set_up_tensorflow
from stages.pairs.read import Pairs
from stages.pairs.tables import lines_of, read_leaks, read_rows, with_origins, write_csv
from stages.pipeline import paths
from stages.pipeline.checkpoints import Checkpoint, State, resumable
from stages.pipeline.disk import require_space
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic, damaged_output, digest, read_arrays, read_output, write_json
from stages.pipeline.params import load
from stages.pipeline.progress import Progress

SUSPECT = ["row", "score", "judged_by"]


class Predictor(Protocol):
    """What is needed of a network: how the predictions of pairs fit."""

    def expect(self, positions: np.ndarray) -> None: ...

    def fits(self, positions: np.ndarray) -> Iterator[Fit]: ...


OUTPUTS = (paths.EVALUATE_METRICS, paths.SCORES_CURVE, paths.SUSPECTS, paths.TEST_SCORES, paths.WORST)


def main() -> None:
    """Write the metrics, the scores of test pairs and of the pool, their distribution, and the worst predictions."""
    params = load("evaluate")
    pool, test = Pairs(paths.POOL), Pairs(paths.TEST)
    chosen = read_output(paths.CORE_TABLE, read_rows, len(pool))
    judged = read_output(paths.JUDGED, _read_judged, len(pool))
    verified = read_output(paths.VERIFIED, _read_verified, len(pool))
    leaking = read_output(paths.LEAKS, read_leaks, len(test))
    if len(leaking) and params.evaluate.on_leak == "fail":
        raise UserError(
            f"{paths.LEAKS}: {len(leaking)} of {len(test)} test pairs stand in the pool, too, or overlap with it, "
            f"as row {leaking[0]}; evaluate.on_leak=drop leaves them out, report only counts them"
        )
    excluded = read_rows(Path(params.select.exclude), len(pool), least=0)
    dropped = leaking if params.evaluate.on_leak == "drop" else leaking[:0]
    threads = set_up_tensorflow()
    # These import TensorFlow, which takes seconds that bad input need not wait for.
    from stages.learning import helpers, predictor, saving

    network = saving.load_network(paths.CORE_MODEL)
    inputs = {"pool": pool.digest, "test": test.digest}
    inputs |= {path.name: digest(path) for path in (paths.CORE_MODEL, paths.CORE_TABLE, paths.JUDGED, paths.VERIFIED)}
    machine = {"threads": threads, "processor": processor()}
    with (
        resumable("evaluate", params, inputs, machine, keep=False) as saved,
        atomic(*OUTPUTS) as (metrics, curve, suspects, test_scores, worst),
    ):
        require_space(paths.EVALUATE_METRICS, 200 * (len(pool) + len(test)))
        of_test, of_pool = predictor.Predictor(network, test), predictor.Predictor(network, pool)
        left = np.setdiff1d(np.arange(len(pool)), verified["rows"])  # the others were fitted by this very network
        with helpers.helped(paths.CORE_MODEL, of_test, of_pool):
            test_table, left_table = _fit({of_test: np.arange(len(test)), of_pool: left}, saved)
        pool_table = np.empty((len(pool), test_table.shape[1]))
        pool_table[left] = left_table
        if len(verified["rows"]):
            pool_table[verified["rows"]] = verified["fits"]
        rows = {
            "test": np.setdiff1d(np.arange(len(test)), dropped),
            "rejected": np.setdiff1d(np.arange(len(pool)), np.concatenate([chosen, excluded])),
            "chosen": chosen,
            "excluded": excluded,
        }
        tables = {name: (test_table if name == "test" else pool_table)[each] for name, each in rows.items()}
        fits = {name: FITS[pool.layout.kind].from_table(table) for name, table in tables.items()}
        if not len(excluded):
            del fits["excluded"]
        score = score_of(params.score, params.score_background)
        scores = {name: score(fit) for name, fit in fits.items()}
        tested = _lowest_first(rows["test"], scores["test"], fits["test"].closeness())
        rejected = Judgement("core", rows["rejected"], scores["rejected"], fits["rejected"].closeness())
        suspected = _suspects(
            rejected, Judgement("fold", judged["rows"], judged["scores"], judged["closeness"]), chosen
        )
        write_csv(suspects, *with_origins(SUSPECT, lines_of(*suspected), suspected[0], pool.origins()))
        write_csv(test_scores, *with_origins(SUSPECT[:2], lines_of(*tested), tested[0], test.origins()))
        shown = {
            "test": tested[0][:SHOWN].tolist(),
            "suspects": suspected[0][:SHOWN][~np.isnan(suspected[1][:SHOWN])].tolist(),
        }
        np.savez_compressed(
            worst,
            allow_pickle=False,
            test_rows=np.array(shown["test"], np.int64),
            test_predictions=of_test.views(shown["test"]),
            suspects_rows=np.array(shown["suspects"], np.int64),
            suspects_predictions=_predictions(shown["suspects"], of_pool.views, judged),
        )
        in_pool = np.concatenate([found for name, found in scores.items() if name != "test"])
        columns = distribution(scores) | {"pool_below": shares_below(in_pool)}
        write_csv(curve, list(columns), list(zip(*columns.values(), strict=True)))
        figures = {
            name: summarize(fit, scores[name], params.bar, params.score_background) for name, fit in fits.items()
        }
        if isinstance(fits["test"], ClassFit) and len(rows["test"]):
            figures["test"] |= of_each_class(fits["test"], pool.classes, params.score_background)
        if len(rows["test"]):
            bound = bound_by_test(figures["test"]["below_bar"], len(rows["test"]), params.confidence)
            figures["test"]["failing_share_at_most"] = bound
        write_json(
            metrics,
            {
                **figures,
                "leaks": {"test_pairs": len(leaking), "dropped": len(dropped)},
                "bar": params.bar,
                "seconds": saved.seconds(),
            },
        )


class Judgement(NamedTuple):
    """Pairs, and how networks do on them that did not learn them; which these are."""

    by: str
    rows: np.ndarray
    scores: np.ndarray
    closeness: np.ndarray


def _suspects(rejected: Judgement, judged: Judgement, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rejected and chosen rows with their scores and what judged them, the lowest first: often the mask is wrong.

    Of two judgements of a pair the better one counts: a network that is not good enough is no proof against a mask.
    Chosen pairs that nothing judged come last, with NaN.
    """
    by = np.repeat([rejected.by, judged.by], [len(rejected.rows), len(judged.rows)])
    rows, scores, closeness = (np.concatenate(columns) for columns in zip(rejected[1:], judged[1:], strict=True))
    highest = np.lexsort((rows, by, closeness, scores))[::-1]
    _, first = np.unique(rows[highest], return_index=True)
    best = highest[np.sort(first)][::-1]
    others = chosen[~np.isin(chosen, rows)]
    return (
        np.concatenate([rows[best], others]),
        np.concatenate([scores[best], np.full(len(others), np.nan)]),
        np.concatenate([by[best], np.full(len(others), "none")]),
    )


def _lowest_first(rows: np.ndarray, scores: np.ndarray, closeness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores; closeness tells pairs of one score apart, since scores may have coarse steps."""
    lowest = np.lexsort((rows, closeness, scores))
    return rows[lowest], scores[lowest]


def _predictions(
    rows: Sequence[int], predict: Callable[[Sequence[int]], np.ndarray], judged: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Predictions for suspects by networks that did not learn them: chosen ones have theirs in `judged`."""
    found = dict(zip(judged["pictured"].tolist(), judged["predictions"], strict=True))
    others = [row for row in rows if row not in found]
    found |= zip(others, predict(others), strict=True)
    return np.array([found[row] for row in rows])


def _read_verified(path: Path, count: int) -> dict[str, np.ndarray]:
    """Rows whose fits stage ``select`` knows, and these fits; a reader for `read_output`."""
    return _read_columns(path, count, ("rows", "fits"))


def _read_judged(path: Path, count: int) -> dict[str, np.ndarray]:
    """What stage ``judge`` found, see `stages.judge.Judged`; a reader for `read_output`."""
    return _read_columns(path, count, ("rows", "scores", "closeness"), ("pictured", "predictions"))


def _read_columns(path: Path, count: int, *tables: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of tables, each with rows of the pool in its first column, and as many values in the others."""
    arrays = read_arrays(path)
    if arrays.keys() != {name for names in tables for name in names}:
        raise damaged_output(path, f"its arrays are {', '.join(arrays)}")
    for names in tables:
        if len({len(arrays[name]) for name in names}) > 1:
            raise damaged_output(path, f"{', '.join(names)} differ in length")
        if not np.isin(arrays[names[0]], np.arange(count)).all():
            raise damaged_output(path, f"it names other rows than those of {count} pairs")
    return arrays


def _fit(asked: Mapping[Predictor, np.ndarray], saved: Checkpoint) -> list[np.ndarray]:
    """Tables of how the predictions of some rows fit, one set after the other, from where an interrupted run was."""
    found = saved.found.arrays if saved.found else {}
    tables = [[found[f"set {number}"]] if f"set {number}" in found else [] for number in range(len(asked))]
    done = sum(len(block) for blocks in tables for block in blocks)

    def state() -> State:
        arrays = {f"set {number}": np.concatenate(blocks) for number, blocks in enumerate(tables) if blocks}
        return State({}, arrays)

    with Progress("evaluate", sum(map(len, asked.values())), "pair") as progress:
        if saved.found:
            progress.go_on(done)
        for (predictor, rows), blocks in zip(asked.items(), tables, strict=True):
            left = rows[sum(map(len, blocks)) :]
            predictor.expect(left)
            for fit in predictor.fits(left):
                blocks.append(fit.table())
                done += len(blocks[-1])
                progress.show(done)
                saved.save_if_due(state)
    return [np.concatenate(blocks) for blocks in tables]


if __name__ == "__main__":
    run("evaluate", main)
