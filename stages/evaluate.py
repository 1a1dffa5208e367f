"""Stage ``evaluate``: how well the core's network does on the test set and on every pair of the pool."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from stages.learning.bounds import bound_by_test
from stages.learning.figures import distribution, of_each_class, shares_below, summarize
from stages.learning.protocol import SHOWN
from stages.learning.scores import FITS, ClassFit, Fit, score_of, shortfall
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
from stages.pipeline.params.sections import Params
from stages.pipeline.progress import Progress

SCORED = ["row", "score"]
SUSPECT = ["row", "score", "shortfall", "judged_by"]
JUDGES = ("core", "fold", "none")  # of a suspect: the core's network, one that learnt other folds, no network
OUTPUTS = (paths.EVALUATE_METRICS, paths.SCORES_CURVE, paths.SUSPECTS, paths.TEST_SCORES, paths.WORST)


class Predictor(Protocol):
    """What is needed of a network: how the predictions of pairs fit."""

    def expect(self, positions: np.ndarray) -> None: ...

    def fits(self, positions: np.ndarray) -> Iterator[Fit]: ...


class Rated(NamedTuple):
    """Pairs, and how networks do on them: three arrays of shape (n,), see `stages.learning.scores.shortfall`."""

    rows: np.ndarray
    scores: np.ndarray
    shortfalls: np.ndarray


class Table(NamedTuple):
    """How predictions fit, a row a pair, those of the test set first; and the pairs that are still to be predicted.

    Attributes
    ----------
    fits : ndarray of float64, shape (n, m)
        Without columns as long as none is known.
    tests : int
        How many of these pairs are of the test set.
    left : ndarray of int64, shape (k,)
        Places in the table that are not filled, all of the test set among them.
    rows : ndarray of int64, shape (k,)
        Rows of these pairs in their set.
    """

    fits: np.ndarray
    tests: int
    left: np.ndarray
    rows: np.ndarray


def main() -> None:
    """Write the metrics, the scores of test pairs and of the pool, their distribution, and the worst predictions."""
    params = load("evaluate")
    pool, test = Pairs(paths.POOL), Pairs(paths.TEST)
    chosen = read_output(paths.CORE_TABLE, read_rows, len(pool))
    judged_columns = ("rows", "scores", "shortfalls"), ("pictured", "predictions")
    judged = read_output(paths.JUDGED, _read_columns, len(pool), *judged_columns)
    verified = read_output(paths.VERIFIED, _read_columns, len(pool), ("rows", "fits"))
    leaking = _read_allowed_leaks(params.evaluate.on_leak, len(test))
    excluded = pool.rows_in(Path(params.select.exclude))
    dropped = leaking if params.evaluate.on_leak == "drop" else leaking[:0]
    rows = {
        "test": np.setdiff1d(np.arange(len(test)), dropped),
        "rejected": np.setdiff1d(np.arange(len(pool)), np.concatenate([chosen, excluded])),
        "chosen": chosen,
        **({"excluded": excluded} if len(excluded) else {}),
    }
    table = _tabulate(rows, len(pool), verified)
    del verified  # as large as the table
    threads = set_up_tensorflow()
    # These import TensorFlow, which takes seconds that bad input need not wait for.
    from stages.learning import helpers, predictor, saving

    network = saving.load_network(paths.CORE_MODEL)
    inputs = {
        "pool": pool.digest,
        "test": test.digest,
        "excluded": str(excluded.tolist()),
        "dropped": str(dropped.tolist()),
    }
    inputs |= {path.name: digest(path) for path in (paths.CORE_MODEL, paths.CORE_TABLE, paths.JUDGED, paths.VERIFIED)}
    machine = {"threads": threads, "processor": processor()}
    with (
        resumable("evaluate", params, inputs, machine, keep=False) as saved,
        atomic(*OUTPUTS) as (metrics, curve, suspects, test_scores, worst),
    ):
        require_space(paths.EVALUATE_METRICS, 200 * (len(pool) + len(test)))
        of_test, of_pool = predictor.Predictor(network, test), predictor.Predictor(network, pool)
        with helpers.helped(paths.CORE_MODEL, of_test, of_pool):
            fits = _fit((of_test, of_pool), table, saved)
        del table
        figures, rated = _figures(fits, rows, pool, params)
        del fits
        _write_shares(curve, {name: each.scores for name, each in rated.items()})
        tested = _lowest_first(rated["test"])
        write_csv(test_scores, *with_origins(SCORED, lines_of(*tested), tested[0], test.origins()))
        suspected = _suspects(rated["rejected"], Rated(*(judged[name] for name in Rated._fields)), chosen)
        lines = ((*values, JUDGES[by]) for *values, by in lines_of(*suspected))
        write_csv(suspects, *with_origins(SUSPECT, lines, suspected[0], pool.origins()))
        shown = tested[0][:SHOWN]
        doubted, predictions = _doubted(suspected[0][:SHOWN], suspected[3][:SHOWN], of_pool.views, judged)
        np.savez_compressed(
            worst,
            allow_pickle=False,
            test_lines=np.arange(len(shown)),
            test_predictions=of_test.views(shown),
            suspects_lines=doubted,
            suspects_predictions=predictions,
        )
        write_json(
            metrics,
            {
                **figures,
                "leaks": {"test_pairs": len(leaking), "dropped": len(dropped)},
                "bar": params.bar,
                "seconds": saved.seconds(),
            },
        )


def _read_allowed_leaks(on_leak: str, tests: int) -> np.ndarray:
    """Rows of the test set that share an image with the pool; raise UserError if there are and must not be any."""
    leaking = read_output(paths.LEAKS, read_leaks, tests)
    if len(leaking) and on_leak == "fail":
        raise UserError(
            f"{paths.LEAKS}: {len(leaking)} of {tests} test pairs stand in the pool, too, or overlap with it, "
            f"as row {leaking[0]}; evaluate.on_leak=drop leaves them out, report only counts them"
        )
    return leaking


def _tabulate(rows: Mapping[str, np.ndarray], count: int, verified: Mapping[str, np.ndarray]) -> Table:
    """The table for some kinds of pairs, with the fits that stage ``select`` verified of a pool of ``count`` pairs."""
    order, tests = np.concatenate([*rows.values()]), len(rows["test"])
    place = np.empty(count, np.int64)
    place[order[tests:]] = np.arange(tests, len(order))
    known = place[verified["rows"]]
    fits = np.zeros((len(order), verified["fits"].shape[1]))
    fits[known] = verified["fits"]
    left = np.setdiff1d(np.arange(len(order)), known)
    return Table(fits, tests, left, order[left])


def _fit(predictors: Sequence[Predictor], table: Table, saved: Checkpoint) -> np.ndarray:
    """The table, filled by the predictors of the test set and of the pool, from where an interrupted run was."""
    fits, done = table.fits, 0
    if saved.found:
        fits, done = saved.found.arrays["fits"], saved.found.plain["done"]

    def state() -> State:
        return State({"done": done}, {"fits": fits})

    with Progress("evaluate", len(table.left), "pair") as progress:
        if saved.found:
            progress.go_on(done)
        for predictor, begin, end in zip(predictors, (0, table.tests), (table.tests, len(table.left)), strict=True):
            asked = table.rows[max(begin, done) : end]
            predictor.expect(asked)
            for fit in predictor.fits(asked):
                block = fit.table()
                if not fits.size:
                    fits = np.zeros((len(fits), block.shape[1]))
                fits[table.left[done : done + len(block)]] = block
                done += len(block)
                progress.show(done)
                saved.save_if_due(state)
    return fits


def _figures(
    table: np.ndarray, rows: Mapping[str, np.ndarray], pool: Pairs, params: Params
) -> tuple[dict[str, Any], dict[str, Rated]]:
    """The figures of each kind of pairs, and how the network does on them, from a table with a row a pair."""
    score = score_of(params.score, params.score_background)
    figures, rated, end = {}, {}, 0
    for name, of_kind in rows.items():
        begin, end = end, end + len(of_kind)
        fit = FITS[pool.layout.kind].from_table(table[begin:end])
        rated[name] = each = Rated(of_kind, score(fit), shortfall(fit))
        figures[name] = summarize(fit, each.scores, params.bar, params.score_background)
        if name != "test" or not len(of_kind):
            continue
        if isinstance(fit, ClassFit):
            figures[name] |= of_each_class(fit, pool.classes, params.score_background)
        bound = bound_by_test(figures[name]["below_bar"], len(of_kind), params.confidence)
        figures[name]["failing_share_at_most"] = bound
    return figures, rated


def _write_shares(path: Path, scores: Mapping[str, np.ndarray]) -> None:
    """Write how the scores of each kind of pairs are distributed, and the shares of the pool below each step."""
    in_pool = np.concatenate([of_kind for name, of_kind in scores.items() if name != "test"])
    columns = distribution(scores) | {"pool_below": shares_below(in_pool)}
    write_csv(path, list(columns), list(zip(*columns.values(), strict=True)))


def _suspects(rejected: Rated, judged: Rated, chosen: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rejected and chosen rows with their scores, shortfalls and what judged them, see `JUDGES`; wrong masks first.

    Those are the pairs that the networks contradict most. Of two judgements of a pair the one that contradicts it less
    counts: a network that is sure of something else may err. Chosen pairs that nothing judged come last, with NaN.
    """
    by = np.repeat(np.arange(2, dtype=np.int8), [len(rejected.rows), len(judged.rows)])
    rows, scores, shortfalls = map(np.concatenate, zip(rejected, judged, strict=True))
    least = np.lexsort((-rows, -by, -scores, shortfalls))
    _, first = np.unique(rows[least], return_index=True)
    best = least[np.sort(first)][::-1]
    others = chosen[~np.isin(chosen, rows)]
    nothing = np.full(len(others), np.nan)
    return (
        np.concatenate([rows[best], others]),
        np.concatenate([scores[best], nothing]),
        np.concatenate([shortfalls[best], nothing]),
        np.concatenate([by[best], np.full(len(others), 2, np.int8)]),
    )


def _lowest_first(rated: Rated) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores; of equal scores, which may have coarse steps, those first that are contradicted most."""
    lowest = np.lexsort((rated.rows, -rated.shortfalls, rated.scores))
    return rated.rows[lowest], rated.scores[lowest]


def _doubted(
    rows: np.ndarray, by: np.ndarray, predict: Callable[[Sequence[int]], np.ndarray], judged: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Places of those of some suspects that what judged them has a prediction of, and these predictions.

    Judges keep a prediction only of the pairs that they contradict most, and know nothing of the core.
    """
    found = dict(zip(judged["pictured"].tolist(), judged["predictions"], strict=True))
    of_core = rows[by == JUDGES.index("core")].tolist()
    found |= zip(of_core, predict(of_core), strict=True)
    kept = np.flatnonzero(np.isin(rows, list(found)))
    return kept, np.array([found[row] for row in rows[kept].tolist()])


def _read_columns(path: Path, count: int, *tables: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of tables, each with rows of the pool in its first column, and as many values in the others.

    A reader for `read_output`.
    """
    arrays = read_arrays(path)
    if arrays.keys() != {name for names in tables for name in names}:
        raise damaged_output(path, f"its arrays are {', '.join(arrays)}")
    for names in tables:
        if len({len(arrays[name]) for name in names}) > 1:
            raise damaged_output(path, f"{', '.join(names)} differ in length")
        if not np.isin(arrays[names[0]], np.arange(count)).all():
            raise damaged_output(path, f"it names other rows than those of {count} pairs")
    return arrays


if __name__ == "__main__":
    run("evaluate", main)
