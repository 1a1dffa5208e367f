"""Stage ``select``: choose the core from the pool, by the strategy that the parameters name."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.learning.helpers import helped
from stages.learning.protocol import PREDICTION_BATCH
from stages.learning.tensorflow import processor, set_up_training
from stages.pairs.layout import Origins
from stages.pairs.tables import HEADER, lines_of, with_origins, write_csv
from stages.pairs.write import copy_rows
from stages.pipeline import paths
from stages.pipeline.checkpoints import Checkpoint, resumable
from stages.pipeline.checkpoints import State as Saved
from stages.pipeline.disk import require_space
from stages.pipeline.entry import run
from stages.pipeline.files import atomic, digest, write_json
from stages.pipeline.params import load
from stages.pipeline.params.sections import Params
from stages.pipeline.progress import Progress
from stages.strategies.shared.pool import Pool, digest_of_rows, open_pool
from stages.strategies.shared.state import Round, State
from stages.strategies.shared.strategy import Settings, strategy_of

if TYPE_CHECKING:
    from stages.learning.board import Board
    from stages.learning.learner import Learner

OUTPUTS = (
    paths.CORE_MODEL,
    paths.CORE_RECORD,
    paths.CORE,
    paths.CORE_TABLE,
    paths.REJECTED,
    paths.VERIFIED,
    paths.SELECT_METRICS,
    paths.WALK_CURVE,
)


def main() -> None:
    """Write the core as a set, as a table and as a network with its record, and how it was chosen."""
    params = load("select")
    pool = open_pool(params.select, params.seed_training.filled)
    strategy, settings = strategy_of(params.select.strategy), _settings(params)
    state = strategy.start(pool, settings)
    threads = set_up_training()
    # These import TensorFlow: bad input need not wait for that.
    from stages.learning.board import Board
    from stages.learning.learner import Learner
    from stages.learning.saving import bytes_of

    board = Board("select")
    pairs = pool.pairs
    learner = Learner.load(paths.SEED_MODEL, pairs, params, params.select.batch_size)
    machine = {"threads": threads, "processor": processor(), "precision_policy": learner.policy}
    start = hashlib.sha256(repr(state.plain()).encode()).hexdigest()
    inputs = {"pool": pool.digest, "seed": digest(paths.SEED_MODEL), "start": start}
    with (
        resumable("select", params, inputs, machine) as saved,
        atomic(*OUTPUTS) as (model, record, core, table, rejected, verified, metrics, curve),
    ):
        require_space(paths.CORE_MODEL, 4 * bytes_of(learner.trained))  # two checkpoints, the network and a copy of it
        if saved.found:
            state = state.restored(saved.found.plain["state"], saved.found.arrays)
            learner.restore(saved.found.arrays)
        with helped(paths.SEED_MODEL, learner):
            _carry_out(strategy.choose(learner, state, settings), state, learner, saved, board)
        learner.save(model)
        rows = pairs.order[state.positions]
        require_space(paths.CORE, replace(pairs.layout, count=len(rows)).bytes)
        copy_rows(pairs, rows, core, {"core_of": pairs.attributes})
        origins = pairs.origins()
        write_csv(table, *with_origins(HEADER, _table(state, rows), rows, origins))
        left = _rejected(state, pairs.order)
        write_csv(rejected, *with_origins(["row", "score"], lines_of(*left), left[0], origins))
        positions, fits = state.verified()
        np.savez_compressed(verified, allow_pickle=False, rows=pairs.order[positions], fits=fits)
        write_csv(curve, Round._fields, state.rounds)
        write_json(
            record,
            {
                "strategy": params.select.strategy,
                "rows": pairs.layout.count,
                "rows_digest": pairs.digest,
                "excluded_digest": digest_of_rows(np.setdiff1d(np.arange(pairs.layout.count), pairs.order)),
                "bar": params.bar,
                "score": params.score,
                **machine,
            },
        )
        write_json(
            metrics,
            {
                "strategy": params.select.strategy,
                **state.metrics(),
                "independent": _independent(pool, origins, params),
                "seconds": saved.seconds(),
            },
        )


def _settings(params: Params) -> Settings:
    return Settings(
        precision=params.precision,
        bar=params.bar,
        confidence=params.confidence,
        suspect_below=params.suspect_below,
        batch_size=params.select.batch_size,
        seeds=params.seed_training.count,
        seed=params.training.seed,
        budget=params.select.budget,
        retrain=params.select.retrain,
        options=params.select.options,
    )


def _carry_out(steps: Iterator[State], state: State, learner: "Learner", saved: Checkpoint, board: "Board") -> None:
    """Choose to the end, show how far the choice has come, and save it now and then."""

    def all_of_it() -> Saved:
        return Saved({"state": state.plain()}, {**learner.state(), **state.arrays()})

    learner.after_batch = lambda: saved.save_if_due(all_of_it)
    begun = state.progress()
    with Progress("select", begun.total, begun.unit, disk=None) as progress:
        if saved.found:
            progress.go_on(begun.done)
        drawn = 0
        for _ in steps:
            _show(state, progress)
            if board.is_on:
                board.show(state.steps, state.progress().figures)
                new = state.positions[drawn : drawn + PREDICTION_BATCH]
                board.show_pairs(drawn, learner.pairs.read(new))
                drawn += len(new)
            saved.save_if_due(all_of_it)
        board.flush()
        saved.save(all_of_it())


def _show(state: State, progress: Progress) -> None:
    now = state.progress()
    progress.turn_to(now.total, now.unit)
    progress.show(now.done, **now.figures)
    for line in state.warnings():
        progress.warn(line)


def _independent(pool: Pool, origins: Origins | None, params: Params) -> bool:
    """Whether the pool is a random sample in random order.

    It is not where an earlier choice left pairs out, or the seed pairs are those with foreground. Pairs of files have
    to be all that there are, in a drawn order, one of an image, of no group.
    """
    pairs = pool.pairs
    if len(pairs) < pairs.layout.count or params.seed_training.with_foreground:
        return False
    if origins is None:
        return True
    images = origins.tiles[:, 0]
    in_drawn_order = params.select.order_seed is not None and not pool.core
    drawn = in_drawn_order and len(np.unique(images)) == len(images)
    return drawn and pairs.attributes["parameters"].keys().isdisjoint({"group_pattern", "train_count"})


def _table(state: State, rows: np.ndarray) -> list[list[Any]]:
    return [
        [row, order, choice.score, choice.epochs]
        for order, (row, choice) in enumerate(zip(rows.tolist(), state.chosen, strict=True))
    ]


def _rejected(state: State, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that were not chosen, in their order, and the score that each had when it was tested last; NaN for none."""
    left = np.delete(np.arange(len(order)), state.positions)
    left = left[np.argsort(order[left])]
    return order[left], state.scores[left]


if __name__ == "__main__":
    run("select", main)
