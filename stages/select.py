"""Stage ``select``: walk the pool from the seed network and keep what it cannot predict yet."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages import cores, hardware, store
from stages.checkpoints import Checkpoint, Clock, State, checkpoint, digest
from stages.entry import run, whole, write_csv, write_json
from stages.params import Params, load
from stages.pool import digest_of_rows, open_pool
from stages.progress import Progress
from stages.strategies import Round, Settings, Walk, strategy

if TYPE_CHECKING:
    from stages.learner import Learner

SEED_MODEL = Path("models/seed.keras")
MODEL = Path("models/core.keras")
CORE = Path("data/core.zarr")
CORE_TABLE = Path("data/core.csv")
REJECTED = Path("data/rejected.csv")
METRICS = Path("metrics/select.json")
CURVE = Path("metrics/plots/walk.csv")


def main() -> None:
    """Write the core as a set, as a table and as a network, the metrics, and the walk by training round."""
    clock = Clock()
    params = load("select")
    pool = open_pool(params.select)
    pairs = pool.pairs
    choose = strategy(params.select.strategy)
    threads = hardware.set_up_tensorflow()
    from stages.learner import Learner  # imports TensorFlow: bad input need not wait for that
    from stages.predictor import PREDICTION_BATCH

    learner = Learner.load(SEED_MODEL, pairs, params, params.select.batch_size)
    machine = {"threads": threads, "processor": hardware.processor(), "precision_policy": learner.policy}
    given = pool.positions_of(params.select.given)
    inputs = {"pool": pool.digest, "seed": digest(SEED_MODEL), "given": digest(Path(params.select.given))}
    with (
        checkpoint("select", params, inputs, machine) as saved,
        whole(MODEL, CORE, CORE_TABLE, REJECTED, METRICS, CURVE) as (model, core, table, rejected, metrics, curve),
    ):
        hardware.require_space(MODEL, 4 * learner.file_bytes)  # two checkpoints, the network and a copy of it
        clock.go_on(saved.found)
        walk = pool.walk(params.seed_training.count)
        if saved.found:
            walk = Walk.from_plain(saved.found.plain["walk"], saved.found.arrays)
            learner.restore(saved.found.arrays)
        settings = _settings(params, PREDICTION_BATCH, given)
        _walk(choose(learner, walk, settings), walk, learner, saved, clock)
        learner.save(model)
        rows = pairs.order[[choice.position for choice in walk.chosen]]
        hardware.require_space(CORE, replace(pairs.layout, count=len(rows)).bytes)
        store.copy_rows(pairs, rows, core, {"core_of": pairs.attributes})
        origins = pairs.origins()
        write_csv(table, *cores.with_origins(cores.HEADER, _table(walk, rows), rows, origins))
        scores = _rejected(walk, pairs.order)
        write_csv(rejected, *cores.with_origins(["row", "score"], list(scores.items()), [*scores], origins))
        write_csv(curve, Round._fields, walk.rounds)
        write_json(
            metrics,
            {
                "strategy": params.select.strategy,
                "rows": pairs.layout.count,
                "rows_digest": pairs.digest,
                "excluded_digest": digest_of_rows(np.setdiff1d(np.arange(pairs.layout.count), pairs.order)),
                "pool": walk.pool,
                "tested": walk.tested,
                "selected": len(walk.chosen),
                "selected_share": len(walk.chosen) / walk.pool,
                "certified": walk.certified,
                "passes": walk.passes,
                "added_by_pass": {str(number): added for number, added in enumerate(walk.added, 1)},
                "epochs": walk.epochs,
                "steps": walk.steps,
                "rating_epochs": walk.rating_epochs,
                "pairs_trained": walk.pairs_trained,
                "pairs_scored": walk.pairs_scored,
                "stalled_rounds": walk.stalled_rounds,
                "score": walk.score,
                "loss": walk.loss,
                "seconds": clock.seconds(),
                "resolved": {"bar": params.bar, "score": params.score, "precision_policy": learner.policy},
                "threads": threads,
                "processor": hardware.processor(),
            },
        )


def _walk(steps: Iterator[Walk], walk: Walk, learner: "Learner", saved: Checkpoint, clock: Clock) -> None:
    """Walk to the end, show how far it has come, and save it now and then."""

    def state() -> State:
        return State({"walk": walk.plain(), "seconds": clock.seconds()}, {**learner.state(), **walk.arrays()})

    learner.after_batch = lambda: saved.save_if_due(state)
    with Progress("select", walk.budget or walk.pool, "step" if walk.budget else "pair") as progress:
        if saved.found:
            progress.go_on(_place(walk))
        for _ in steps:
            _show(walk, progress)
            saved.save_if_due(state)
        saved.save(state())
        if walk.certified is False:
            progress.warn("select.max_passes are over and the last one still found failures: no certificate")


def _settings(params: Params, check_size: int, given: list[int]) -> Settings:
    options = params.select
    max_passes = {1: 1, "until_certified": options.max_passes}[options.passes]
    return Settings(
        precision=params.precision,
        bar=params.bar,
        scan_size=options.scan_size,
        batch_size=options.batch_size,
        max_epochs=options.max_epochs,
        max_passes=max_passes,
        check_size=check_size,
        size=options.size,
        rating_epochs=options.rating_epochs,
        epochs=options.epochs,
        steps=options.steps,
        seed=params.training.seed,
        averaged=options.averaged,
        given=given,
    )


def _place(walk: Walk) -> int:
    """Pairs dealt with in the pass under way, or steps done of a training with a budget."""
    if walk.budget:
        return walk.steps
    return walk.tested if walk.passes == 1 else walk.checked


def _show(walk: Walk, progress: Progress) -> None:
    pass_of = {} if walk.passes == 1 else {"pass": walk.passes}
    if walk.budget:
        progress.turn_to(walk.budget, "step")
    progress.show(_place(walk), **pass_of, selected=len(walk.chosen), score=walk.score, loss=walk.loss)
    if walk.stalled_rounds:
        progress.warn(
            "a training round reached select.max_epochs before precision; the walk goes on, "
            "metrics/select.json counts such rounds as stalled_rounds"
        )


def _table(walk: Walk, rows: np.ndarray) -> list[list[Any]]:
    return [
        [row, order, choice.score, choice.epochs]
        for order, (row, choice) in enumerate(zip(rows.tolist(), walk.chosen, strict=True))
    ]


def _rejected(walk: Walk, order: np.ndarray) -> dict[int, float | None]:
    """Rows that were not chosen, in their order, with the score that each had when it was tested last."""
    chosen = {choice.position for choice in walk.chosen}
    scores = {row: walk.scores[position] for position, row in enumerate(order.tolist()) if position not in chosen}
    return {row: None if np.isnan(scores[row]) else float(scores[row]) for row in sorted(scores)}


if __name__ == "__main__":
    run("select", main)
