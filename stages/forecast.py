"""A plain command: how long the pipeline will take, and how much memory and disk. `python -m stages.forecast`.

Nothing of the pipeline runs. A shard of each set is drawn into a temporary folder, its images are hashed, a fresh
network trains and predicts for some seconds. How much there will be to learn is known only where the same was run
before; else it is guessed, and the table gives a range.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.forecasting import measures
from stages.forecasting.measures import Drawn, Hashed, Predicted, Trained, apart
from stages.forecasting.work import Work, work_for
from stages.judge import BATCH as JUDGED_AT_ONCE
from stages.learning.protocol import PREDICTION_BATCH, SHOWN
from stages.pairs import collisions
from stages.pairs.tables import read_rows
from stages.pipeline.entry import run
from stages.pipeline.machine import cores, count_from_environment
from stages.pipeline.params import load_all
from stages.pipeline.params.sections import Params
from stages.pipeline.progress import Progress

SETS = ("train", "test")
SEARCH_SECONDS = 0.0005  # of an image whose hashes are compared, on the processor of the committed run
MARK_BYTES = 1.1 * collisions.BYTES  # of an image, in files that the audit removes in the end
# In memory: of an image, and of all that is looked at at a time.
SEARCHED_BYTES, SEARCHED_MOST = 17_000, 3.9 * collisions.PART_BYTES
ROW_BYTES, TABLE_BYTES = 300, 50  # of a pair: in the memory of a walk and of an evaluation, in their tables
REPORT_SECONDS, REPORT_MEMORY, REPORT_BYTES = 7.0, 350e6, 4e6  # hardly any of it depends on the sets


class Outlook(NamedTuple):
    """What a stage takes.

    Attributes
    ----------
    stage : str
        Its name.
    seconds : float
        From its start to its end, without what DVC does before and after.
    processes : int
        That work side by side.
    memory : float
        Most bytes that one of them holds.
    disk : float
        Bytes that it writes: its outputs, and what it removes in the end.
    factor : float
        The seconds may be as many times more or less, since nobody knows yet how much there is to learn.
    """

    stage: str
    seconds: float
    processes: int
    memory: float
    disk: float
    factor: float = 1.0


class Measured(NamedTuple):
    """What was tried: drawing each set, hashing, training, and predicting."""

    drawn: dict[str, Drawn]
    hashed: Hashed
    trained: Trained
    predicted: Predicted


def main(words: Sequence[str] | None = None) -> None:
    """Print what each stage takes, and all of them."""
    parser = argparse.ArgumentParser(prog="forecast", description="Say what time, memory and disk the pipeline takes.")
    parser.add_argument("--json", action="store_true", help="print JSON: seconds and bytes")
    options = parser.parse_args(words)
    params = load_all()
    workers, threads = (count_from_environment(f"TRAINCORE_{name}") for name in ("WORKERS", "THREADS"))
    measured = measure(params)
    pool = measured.drawn["train"].layout.count
    work = work_for(params, pool - len(read_rows(Path(params.select.exclude), pool, least=0)))
    outlooks = foresee(params, measured, work, workers)
    if options.json:
        print(json.dumps({"work": work._asdict(), "stages": [each._asdict() for each in outlooks]}, indent=2))
    else:
        print_table(outlooks, work, f"{workers} workers, {threads} threads")


def measure(params: Params) -> Measured:
    """Try each kind of work on the first pairs, in a temporary folder."""
    seeds = min(params.seed_training.batch_size, params.seed_training.count)
    size: int = getattr(params.select.options, "replay_size", params.select.batch_size)
    sizes = sorted({max(1, size // 2), size, JUDGED_AT_ONCE})
    with tempfile.TemporaryDirectory() as folder, Progress("forecast", 5, "part") as progress:
        drawn = {}
        for place, name in enumerate(SETS, 1):
            drawn[name] = apart(measures.draw, name, Path(folder, name))
            progress.show(place)
        pool, network = Path(folder, SETS[0]), Path(folder, "network.keras")
        hashed = apart(measures.hash_images, pool)
        progress.show(3)
        trained = apart(measures.train, pool, network, seeds, size, sizes)
        progress.show(4)
        return Measured(drawn, hashed, trained, apart(measures.predict, pool, network))


def foresee(params: Params, measured: Measured, work: Work, workers: int) -> list[Outlook]:
    """What each stage takes, in the order of the pipeline."""
    trained, predicted, pool = measured.trained, measured.predicted, measured.drawn["train"].layout.count
    pairs = sum(drawn.layout.count for drawn in measured.drawn.values())
    hashing = min(workers, cores())
    networks = params.judge.folds * params.judge.repeats
    test = trained.test if params.select.strategy == "pick_to_learn" else 0.0
    seed_steps = work.epochs * math.ceil(params.seed_training.count / params.seed_training.batch_size)
    selecting = (
        trained.start
        + work.steps
        * (np.interp(work.trained / max(1, work.steps), [*trained.steps], [*trained.steps.values()]) + test)
        + work.rounds * trained.round
        + work.scored / PREDICTION_BATCH * trained.block
    )
    judging = networks * params.judge.steps * trained.steps[JUDGED_AT_ONCE]
    judging += params.judge.repeats * pool / PREDICTION_BATCH * trained.block
    evaluated = pairs - work.verified
    core_bytes = work.core * measured.drawn["train"].pair_bytes
    return [
        *(generated(f"generate@{name}", drawn, workers) for name, drawn in measured.drawn.items()),
        Outlook(
            "audit",
            measured.hashed.start + pairs * (measured.hashed.image + SEARCH_SECONDS) / hashing,
            workers,
            measured.hashed.memory + min(pairs * SEARCHED_BYTES, SEARCHED_MOST),
            pairs * MARK_BYTES,
        ),
        Outlook(
            "train_seed",
            trained.seed_start + seed_steps * trained.seed_step,
            1,
            trained.seed_memory,
            trained.network_bytes,
            work.factor,
        ),
        Outlook(
            "select",
            selecting,
            1,
            trained.memory + pool * ROW_BYTES,
            trained.network_bytes + core_bytes + pool * TABLE_BYTES,
            work.factor,
        ),
        Outlook("judge", trained.start + judging, 1, trained.memory, 0)
        if networks
        else Outlook("judge", measured.hashed.start, 1, measured.hashed.start_memory, 0),
        Outlook(
            "evaluate",
            predicted.start + evaluated / PREDICTION_BATCH * predicted.block,
            1,
            predicted.memory + pairs * ROW_BYTES,
            pairs * TABLE_BYTES + 2 * SHOWN * 4 * math.prod(measured.drawn["test"].layout.prediction_shape),
        ),
        Outlook("report", REPORT_SECONDS, 1, REPORT_MEMORY, REPORT_BYTES),
    ]


def generated(stage: str, drawn: Drawn, workers: int) -> Outlook:
    """What drawing a set takes: each worker writes one shard after the other."""
    layout = drawn.layout
    workers = min(workers, layout.shard_count)
    shards_of_each = math.ceil(layout.shard_count / min(workers, cores()))
    seconds = drawn.start + drawn.pair * min(layout.count, shards_of_each * layout.shard_rows)
    return Outlook(stage, seconds, workers, drawn.memory, layout.count * drawn.pair_bytes)


def print_table(outlooks: Sequence[Outlook], work: Work, machine: str) -> None:
    """Print a line a stage, their sum, and where the counts come from."""
    form = "{:14}{:>28}{:>11}{:>16}{:>12}"
    print(form.format("stage", "time, about", "processes", "memory of each", "disk"))
    for each in outlooks:
        held, disk = _megabytes(each.memory), _megabytes(each.disk)
        print(form.format(each.stage, _range(each.seconds, *_bounds(each)), each.processes, held, disk))
    seconds, disks = (sum(column) for column in zip(*((each.seconds, each.disk) for each in outlooks), strict=True))
    least, most = (sum(column) for column in zip(*map(_bounds, outlooks), strict=True))
    print(form.format("all", _range(seconds, least, most), "", "", _megabytes(disks)))
    print(f"{machine}; a core of about {work.core:,} pairs, {work.source}")


def _bounds(outlook: Outlook) -> tuple[float, float]:
    return outlook.seconds / outlook.factor, outlook.seconds * outlook.factor


def _range(seconds: float, least: float, most: float) -> str:
    return _time(seconds) if least == most else f"{_time(seconds)} ({_time(least)} … {_time(most)})"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


if __name__ == "__main__":
    run("forecast", main)
