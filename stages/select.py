"""Stage ``select``: walk the pool from the seed network and keep what it cannot predict yet."""

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np

from stages import hardware, store
from stages.entry import run, whole, write_json
from stages.params import Params, load
from stages.progress import Progress
from stages.store import Pairs
from stages.strategies import Settings, Walk, strategy

POOL = Path("data/train.zarr")
SEED_MODEL = Path("models/seed.keras")
MODEL = Path("models/core.keras")
CORE = Path("data/core.zarr")
CORE_TABLE = Path("data/core.csv")
METRICS = Path("metrics/select.json")
CURVE = Path("metrics/plots/walk.csv")


def main() -> None:
    """Write the core as a set, as a table and as a network, the metrics, and the walk by training round."""
    started = time.perf_counter()
    params = load("select")
    pairs = Pairs(POOL, params.select.order_seed)
    choose = strategy(params.select.strategy)
    threads = hardware.set_up_tensorflow()
    from stages.learner import Learner  # imports TensorFlow, which takes seconds that bad input need not wait for

    learner = Learner.load(SEED_MODEL, pairs, params, params.select.batch_size)
    start = Walk.start(len(pairs), params.seed_training.count)
    walk = start  # where there is nothing to walk
    rounds: list[list[Any]] = []
    with whole(MODEL, CORE, CORE_TABLE, METRICS, CURVE) as (model, core, table, metrics, curve):
        with Progress("select", len(pairs), "pair") as progress:
            for walk in choose(learner, start, _settings(params)):
                _show(walk, progress)
                if not walk.training or walk.tested == walk.pool:
                    rounds.append([walk.tested, len(walk.chosen), walk.score, walk.loss, walk.epochs])
        learner.save(model)
        rows = pairs.order[[choice.position for choice in walk.chosen]]
        store.copy_rows(pairs, rows, core, {"core_of": pairs.attributes})
        _write_csv(table, ["row", "order", "score", "epochs"], _table(walk, rows))
        _write_csv(curve, ["tested", "selected", "score", "loss", "epochs"], rounds)
        write_json(
            metrics,
            {
                "pool": walk.pool,
                "tested": walk.tested,
                "selected": len(walk.chosen),
                "selected_share": len(walk.chosen) / walk.pool,
                "epochs": walk.epochs,
                "pairs_trained": walk.pairs_trained,
                "pairs_scored": walk.pairs_scored,
                "stalled_rounds": walk.stalled_rounds,
                "score": walk.score,
                "loss": walk.loss,
                "seconds": round(time.perf_counter() - started, 1),
                "resolved": {"bar": params.bar, "score": params.score, "precision_policy": learner.policy},
                "threads": threads,
                "processor": hardware.processor(),
            },
        )


def _settings(params: Params) -> Settings:
    options = params.select
    return Settings(params.precision, params.bar, options.scan_size, options.batch_size, options.max_epochs)


def _show(walk: Walk, progress: Progress) -> None:
    progress.show(walk.tested, selected=len(walk.chosen), score=walk.score, loss=walk.loss)
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


def _write_csv(path: Path, header: list[str], lines: list[list[Any]]) -> None:
    """Write a table; what is absent is left empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *lines])


if __name__ == "__main__":
    run("select", main)
