"""Stage ``judge``: how well networks do on the pairs of the pool that did not learn them, so that wrong masks show.

A pair with a wrong mask fails, joins the core and is learnt, mask and all; the core's network then agrees with it. So
the pool is parted into folds. For each a fresh network learns pairs drawn from the other folds, few of which are wrong,
and is tested on its own. Tiles of one image stand in one fold. That is repeated with other folds, and of the judgements
of a pair the one with the least shortfall counts: a network that is sure of something else may err, several seldom do.
"""

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stages.learning.protocol import PREDICTION_BATCH, SHOWN, STATISTICS
from stages.learning.tensorflow import processor, set_up_training
from stages.pairs.read import Pairs
from stages.pipeline import paths
from stages.pipeline.checkpoints import Checkpoint, State, resumable
from stages.pipeline.disk import require_space
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic, digest_if_any, write_json
from stages.pipeline.params import load
from stages.pipeline.params.sections import Params
from stages.pipeline.progress import Progress

if TYPE_CHECKING:
    from stages.learning.learner import Learner

BATCH = 20  # pairs of a training step
PICTURED = 5 * SHOWN  # predictions that are kept, since the core's network judges some of their pairs better
BLOCK = 20 * PREDICTION_BATCH  # pairs that are tested between two checkpoints
OUTPUTS = (paths.JUDGED, paths.JUDGE_METRICS)


class Fold(NamedTuple):
    """Positions that a network learns from, and those that it is tested on."""

    learnt: np.ndarray
    judged: np.ndarray


class Judged(NamedTuple):
    """What networks say of pairs that they did not learn: of each pair the network that contradicts it least.

    Attributes
    ----------
    scores, shortfalls : ndarray of float64, shape (n,)
        As `stages.learning.protocol.Verified` has them; a shortfall is infinite where nothing is judged.
    judge : ndarray of int64, shape (n,)
        Number of that network; -1 for none.
    pictured : ndarray of int64, shape (m,)
        Positions of those that are contradicted most.
    predictions : ndarray
        What is drawn of their predictions, see `stages.learning.predictor.Predictor.views`.
    """

    scores: np.ndarray
    shortfalls: np.ndarray
    judge: np.ndarray
    pictured: np.ndarray
    predictions: np.ndarray

    @classmethod
    def of_none(cls, count: int, predictions: np.ndarray) -> "Judged":
        """Nothing said of some pairs, of which no prediction is drawn."""
        return cls(
            scores=np.zeros(count),
            shortfalls=np.full(count, np.inf),
            judge=np.full(count, -1),
            pictured=np.empty(0, np.int64),
            predictions=predictions,
        )


def main() -> None:
    """Write what such networks score, and their predictions of the pairs that fit worst."""
    params = load("judge")
    pool = Pairs(paths.POOL)
    excluded = pool.rows_in(Path(params.select.exclude))
    pairs = pool.in_order(np.setdiff1d(np.arange(len(pool)), excluded))
    folds = part(pairs, params.judge.folds, params.judge.repeats, params.training.seed)
    machine: dict[str, Any] = {}
    learner = None
    if folds:  # drawn pairs are not judged, and need not wait for TensorFlow
        machine = {"threads": set_up_training(), "processor": processor()}
        from stages.learning.learner import Learner

        learner = Learner.new(pairs, params, BATCH)
    inputs = {
        "pool": pairs.digest,
        "excluded": str(excluded.tolist()),
        "network": digest_if_any(params.network.path),
    }
    with resumable("judge", params, inputs, machine) as saved, atomic(*OUTPUTS) as (judged, metrics):
        if learner:
            found = judge(learner, len(pairs), folds, params, saved)
        else:
            found = Judged.of_none(0, np.empty((0, *pairs.layout.prediction_shape), np.float32))
        require_space(paths.JUDGED, sum(each.nbytes for each in found))
        np.savez_compressed(
            judged,
            allow_pickle=False,
            rows=pairs.order[: len(found.scores)],
            scores=found.scores,
            shortfalls=found.shortfalls,
            pictured=pairs.order[found.pictured],
            predictions=found.predictions,
        )
        write_json(
            metrics,
            {
                "judged": len(found.scores),
                "pairs_trained": len(folds) * params.judge.steps * BATCH,
                "seconds": saved.seconds(),
            },
        )


def part(pairs: Pairs, count: int, repeats: int, seed: int) -> list[Fold]:
    """Part a pool into folds at random, some times anew, by the images that its pairs come from.

    Parameters
    ----------
    pairs : Pairs
        The pool.
    count : int
        Number of folds; where there are fewer images, tiles of one image are parted, too.
    repeats : int
        How often.
    seed : int
        Of the draw.

    Raises
    ------
    UserError
        If there are not as many pairs.
    """
    if count > len(pairs):
        raise UserError(f"judge.folds is {count}, allowed is at most {len(pairs)}, the pairs of {pairs.path}")
    origins = pairs.origins()
    images = pairs.order if origins is None else origins.tiles[pairs.order, 0]
    units, unit_of = np.unique(images, return_inverse=True)
    if len(units) < count:
        units, unit_of = pairs.order, np.arange(len(pairs))
    draw = np.random.default_rng(seed)
    parted = [draw.permutation(np.arange(len(units)) % max(1, count))[unit_of] for _ in range(repeats)]
    return [
        Fold(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold))
        for fold_of in parted
        for fold in range(count)
    ]


def judge(learner: "Learner", count: int, folds: Sequence[Fold], params: Params, saved: Checkpoint) -> Judged:
    """Train a fresh network for each fold, and test it on that fold.

    Parameters
    ----------
    learner : Learner
        Of ``count`` pairs; renewed for each fold.

    Raises
    ------
    UserError
        If training diverges.
    """
    found = Judged.of_none(count, learner.views([]))
    done = 0  # steps and tested pairs
    if saved.found:
        done = saved.found.plain["done"]
        found = Judged(*(saved.found.arrays[name] for name in Judged._fields))
        learner.restore(saved.found.arrays)

    def state() -> State:
        return State({"done": done}, {**learner.state(), **found._asdict()})

    ends = np.cumsum([params.judge.steps + len(fold.judged) for fold in folds]).tolist()
    with Progress("judge", ends[-1], "step or pair", disk=None) as progress:
        if saved.found:
            progress.go_on(done)
        while done < ends[-1]:
            number = bisect_right(ends, done)
            fold, left = folds[number], ends[number] - done
            if left > len(fold.judged):
                _learn(learner, fold, params, params.judge.steps + len(fold.judged) - left, done)
                done += 1
            else:
                block = fold.judged[-left:][:BLOCK]
                _test(found, learner, block, number)
                done += len(block)
            if done == ends[number]:
                found = _pictured(found, learner, number)
            progress.show(done)
            saved.save_if_due(state)
        saved.save(state())
    return found


def _learn(learner: "Learner", fold: Fold, params: Params, step: int, done: int) -> None:
    """A training step on what a fold's network learns from, a fresh one before the first; ``done`` keys the draw."""
    draw = np.random.default_rng((params.training.seed, done))
    if not step:
        learner.renew()
    learner.fit_step(_some(fold.learnt, BATCH, draw))
    if step + 1 == params.judge.steps:
        learner.estimate(_some(fold.learnt, STATISTICS, draw))


def _some(positions: np.ndarray, count: int, draw: np.random.Generator) -> list[int]:
    some: list[int] = draw.choice(positions, min(count, len(positions)), replace=False).tolist()
    return some


def _test(found: Judged, learner: "Learner", positions: np.ndarray, number: int) -> None:
    """Enter what a network, by its number, says of some pairs that it contradicts less than those before it."""
    scores, _, shortfalls, _ = learner.verify(positions)
    better = shortfalls < found.shortfalls[positions]
    entered = positions[better]
    found.scores[entered], found.shortfalls[entered], found.judge[entered] = scores[better], shortfalls[better], number


def _pictured(found: Judged, learner: "Learner", number: int) -> Judged:
    """What is found so far, with predictions of the pairs that are contradicted most, each by what judges it.

    Those that the network of this number judges are predicted, in place of what others said of them.
    """
    others = found.pictured[found.judge[found.pictured] != number]
    judged = np.concatenate([others, np.flatnonzero(found.judge == number)])
    worst = judged[np.argsort(-found.shortfalls[judged], kind="stable")[:PICTURED]]
    kept = np.isin(found.pictured, np.intersect1d(others, worst))
    new = np.setdiff1d(worst, others)
    return found._replace(
        pictured=np.concatenate([found.pictured[kept], new]),
        predictions=np.concatenate([found.predictions[kept], learner.views(new)]),
    )


if __name__ == "__main__":
    run("judge", main)
