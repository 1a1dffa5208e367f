"""What drawing, hashing, training and predicting take here: each is tried in a process of its own, on one shard.

A fresh process starts as a stage does, so that what it takes until its work is under way, and the most memory that it
holds, are those of the stage.
"""

import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from stages.datasets.shared.source import Source, classes_of, open_source
from stages.datasets.shared.tally import Tally
from stages.datasets.shared.tiles import TileSource
from stages.learning.protocol import PREDICTION_BATCH, SHOWN, STATISTICS
from stages.learning.tensorflow import set_up_tensorflow
from stages.pairs import copies
from stages.pairs.layout import Layout
from stages.pairs.read import Pairs
from stages.pairs.write import create, finish, write_shard
from stages.pipeline.errors import UserError
from stages.pipeline.machine import peak_memory
from stages.pipeline.params import load_all
from stages.pipeline.params.sections import Params
from stages.pipeline.processes import end_with_parent

SECONDS = 2.0  # that each thing is tried, at the least
HASHED = 256  # images that are tried
BLOCKS = 4  # of predictions; the next is read while one is predicted

Found = TypeVar("Found")


class Clock:
    """Time since a process was asked for, but for that in which something was timed."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def start(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._begun

    def timed(self, work: Callable[[], object]) -> float:
        """Mean seconds of a call, over as many calls as fit into some seconds, or one."""
        begun, count = time.monotonic(), 0
        while not count or time.monotonic() - begun < SECONDS:
            work()
            count += 1
        took = time.monotonic() - begun
        self._begun += took
        return took / count


class Drawn(NamedTuple):
    """A set: its layout, seconds until pairs are drawn, seconds and bytes on disk of a pair, peak memory in bytes."""

    layout: Layout
    start: float
    pair: float
    pair_bytes: float
    memory: int


class Hashed(NamedTuple):
    """Audit: seconds and peak memory in bytes until images are hashed; seconds of an image, peak memory then."""

    start: float
    start_memory: int
    image: float
    memory: int


class Trained(NamedTuple):
    """Training.

    Attributes
    ----------
    seed_start, start : float
        Seconds until the seed pairs are learnt, and until the walk is under way.
    seed_step : float
        Seconds of a training step on seed pairs.
    steps : dict of int to float
        Seconds of other steps by their pairs.
    test : float
        Seconds to score a pair that was just learnt.
    round : float
        Seconds to estimate statistics.
    block : float
        Seconds of a block of predictions.
    network_bytes : int
        Of a network with its optimizer.
    seed_memory, memory : int
        Peak memory in bytes, of the seed training and of all.
    """

    seed_start: float
    start: float
    seed_step: float
    steps: dict[int, float]
    test: float
    round: float
    block: float
    network_bytes: int
    seed_memory: int
    memory: int


class Predicted(NamedTuple):
    """Prediction: seconds until it is under way, seconds of a block, peak memory in bytes."""

    start: float
    block: float
    memory: int


def apart(measure: Callable[..., Found], *arguments: Any) -> Found:
    """Call a measurement in a process of its own, which ends with this one.

    Raises
    ------
    UserError
        If the measurement does, or its process is killed.
    """
    try:
        with ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=end_with_parent, initargs=(signal.SIGKILL,)
        ) as process:
            return process.submit(_begun, measure, Clock(), *arguments).result()
    except BrokenProcessPool:
        raise UserError(
            f"the process that tried to {measure.__name__} was killed, most often for lack of memory"
        ) from None


def _begun(measure: Callable[..., Found], clock: Clock, *arguments: Any) -> Found:
    """A measurement after the parameters were read, with which each stage begins."""
    return measure(clock, load_all(), *arguments)


def draw(clock: Clock, params: Params, item: str, folder: Path) -> Drawn:
    """Write the first shard of a set as a set of its own."""
    source = open_source(params.dataset, item)
    layout = replace(source.layout, count=min(source.layout.count, source.layout.shard_rows))
    source.draw(range(1))
    start = clock.start()
    seconds = clock.timed(lambda: _write(source, layout, folder))
    classes = {"classes": [list(each) for each in classes_of(source)]} if classes_of(source) else {}
    create(folder, layout, classes)
    finish(
        folder, _write(source, layout, folder), origins=source.origins and source.origins.of(np.arange(layout.count))
    )
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Drawn(source.layout, start, seconds / layout.count, held / layout.count, peak_memory())


def _write(source: Source, layout: Layout, folder: Path) -> np.ndarray:
    """Draw and write a shard as stage ``generate`` does; the checksums of its pairs."""
    rows = range(layout.count)
    block, seen = source.draw_and_see(rows) if isinstance(source, TileSource) else (source.draw(rows), {})
    if layout.kind != "labels":
        Tally.of(block, seen, classes_of(source))
    return write_shard(folder, layout, 0, block)


def hash_images(clock: Clock, _: Params, folder: Path) -> Hashed:
    """Hash images as stage ``audit`` does."""
    pairs = Pairs(folder)
    some = range(min(len(pairs), HASHED))
    copies.marks_of(pairs.read(some[:1]).images)
    start, held = clock.start(), peak_memory()
    seconds = clock.timed(lambda: copies.marks_of(pairs.read(some).images))
    return Hashed(start, held, seconds / len(some), peak_memory())


def train(
    clock: Clock, params: Params, folder: Path, network: Path, seeds: int, size: int, sizes: Sequence[int]
) -> Trained:
    """Train a fresh network and predict by it, as stages ``train_seed``, ``select`` and ``judge`` do.

    Parameters
    ----------
    folder : Path
        A set.
    network : Path
        The file to save the network in.
    seeds, size : int
        Pairs of a step of the seed training, and of the walk.
    sizes : sequence of int
        Pairs of the other steps that are timed.
    """
    set_up_tensorflow()
    from stages.learning.learner import Learner

    pairs = Pairs(folder)
    learner = Learner.new(pairs, params, max(seeds, params.select.batch_size))

    def some(count: int) -> list[int]:
        return [position % len(pairs) for position in range(count)]

    learner.fit_epoch(some(seeds), 1)
    seed_start, seed_step = clock.start(), clock.timed(lambda: learner.fit_epoch(some(seeds), 1))
    seed_memory, steps = peak_memory(), {}
    for count in sizes:
        step = partial(learner.fit_step, some(count), 0.1, 1)
        step()
        steps[count] = clock.timed(step)

    def test() -> None:
        learner.estimate(some(size))
        learner.score(some(1))

    def begin_round() -> None:
        learner.estimate(some(STATISTICS))
        learner.score(some(1))

    blocks = some(BLOCKS * PREDICTION_BATCH)
    for work in (test, begin_round, lambda: learner.verify(blocks)):
        work()
    learner.save(network)
    start = clock.start()
    return Trained(
        seed_start,
        start,
        seed_step,
        steps,
        test=clock.timed(test),
        round=clock.timed(begin_round),
        block=clock.timed(lambda: learner.verify(blocks)) / BLOCKS,
        network_bytes=network.stat().st_size,
        seed_memory=seed_memory,
        memory=peak_memory(),
    )


def predict(clock: Clock, _: Params, folder: Path, network: Path) -> Predicted:
    """Predict by a saved network as stage ``evaluate`` does: two sets, and some pairs to be looked at."""
    set_up_tensorflow()
    from stages.learning.predictor import Predictor
    from stages.learning.saving import load_network

    pairs, loaded = Pairs(folder), load_network(network)
    some = np.arange(BLOCKS * PREDICTION_BATCH) % len(pairs)
    for predictor in (Predictor(loaded, pairs), Predictor(loaded, pairs)):
        list(predictor.fits(some[:1]))
        predictor.views(some[:SHOWN])
    start = clock.start()
    seconds = clock.timed(lambda: list(predictor.fits(some)))
    return Predicted(start, seconds / BLOCKS, peak_memory())
