"""A plain command: which precision to ask for, and what it will cost. `python -m stages.suggest`.

A fresh network learns a few pairs of the pool, the first in the order of the walk, and scores others. From these scores
follow the bars that are within reach, and a guess at the core and the time that each leads to.
"""

import argparse
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stages.learning.tensorflow import set_up_training
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.params import load_all
from stages.pipeline.progress import Progress
from stages.strategies.shared.pool import open_pool

if TYPE_CHECKING:
    from stages.learning.learner import Learner

LEARNT = (40, 80)  # pairs that the network has learnt at the two moments at which others are scored
STEPS = 200  # of training before each
BATCH = 20
SCORED = 1000  # other pairs, at the most
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75)
STEPS_A_PAIR = 10  # that a walk trains for each pair of its core
MOST = 1 / 4  # share of the pool that a core may take; a guess can be wrong
STEP = 0.05  # of the precisions that are looked at
LEAST = 0.5  # failing pairs that are assumed where none was found: so few were looked at


class Outlook(NamedTuple):
    """What a precision leads to: the bar, the share of pairs that fail now, and guesses at core and seconds."""

    precision: float
    bar: float
    failing: float
    core: int
    seconds: float


class Look(NamedTuple):
    """What a network of some pairs is worth: scores of others, which of them have foreground, and the training's."""

    learnt: int
    scores: np.ndarray
    filled: np.ndarray
    training: float


def main(words: list[str] | None = None) -> None:
    """Print the scores within reach, what some precisions lead to, and the command for the one to take."""
    argparse.ArgumentParser(prog="suggest", description="Say which precision to ask for.").parse_args(words)
    params = load_all()
    pairs = open_pool(params.select, params.seed_training.filled).pairs
    if len(pairs) < 2 * LEARNT[1]:
        raise UserError(f"{pairs.path}: {len(pairs)} pairs, allowed are {2 * LEARNT[1]} or more to tell anything from")
    set_up_training()
    from stages.learning.learner import Learner

    learner = Learner.new(pairs, params, BATCH)
    looks, step_seconds, score_seconds = look(learner, len(pairs), params.training.seed)
    print_scores(looks[1], len(pairs))
    outlooks = [
        outlook(precision, params.tolerance, looks, len(pairs), step_seconds, score_seconds)
        for precision in precisions(looks[1])
    ]
    print("precision    bar  fail now  core, about  minutes, about")
    for each in outlooks:
        failing, minutes = 100 * each.failing, each.seconds / 60
        print(f"{each.precision:9.2f} {each.bar:6.3f} {failing:7.1f} % {each.core:12,} {minutes:15.1f}")
    chosen = advised(outlooks, len(pairs))
    print(f"advised: dvc exp run -S precision={chosen.precision:g}")


def look(learner: "Learner", pool: int, seed: int) -> tuple[list[Look], float, float]:
    """Train on a few pairs, then on more, and score others each time.

    Returns
    -------
    list of Look
        One for each of `LEARNT`.
    step_seconds, score_seconds : float
        What a step of training takes, and the scoring of a pair.
    """
    draw = np.random.default_rng(seed)
    others = np.sort(draw.choice(np.arange(LEARNT[1], pool), min(SCORED, pool - LEARNT[1]), replace=False))
    filled = learner.pairs.with_foreground(others)
    looks: list[Look] = []
    trained = scored = 0.0
    with Progress("suggest", STEPS * len(LEARNT), "step") as progress:
        for place, count in enumerate(LEARNT):
            training: list[float] = []
            for step in range(STEPS):
                begun = time.monotonic()
                rate = 1 / (1 + count / LEARNT[1])  # falls about as that of a walk does
                training.append(learner.fit_step(draw.choice(count, BATCH, replace=False).tolist(), rate).score)
                trained += (time.monotonic() - begun) * bool(place)  # the first steps build the graph
                progress.show(place * STEPS + step + 1, score=training[-1])
            learner.estimate(range(count))
            learner.score(range(1))
            begun = time.monotonic()
            verified = learner.verify(others)
            scored = time.monotonic() - begun
            looks.append(Look(count, verified.scores, filled, float(np.mean(training[-STEPS // 4 :]))))
    return looks, trained / STEPS, scored / len(others)


def print_scores(found: Look, pool: int) -> None:
    """Print what a network that has learnt a few pairs scores on others."""
    print(
        f"suggest: a network that has learnt {found.learnt} of {pool:,} pairs, {found.training:.3f} in training, "
        f"scores {len(found.scores):,} others"
    )
    print("quantile          " + "".join(f"{100 * each:8.0f} %" for each in QUANTILES))
    for name, part in (("all", found.filled | True), ("with foreground", found.filled), ("without", ~found.filled)):
        if part.any() and (name == "all" or not part.all()):
            values = np.quantile(found.scores[part], QUANTILES)
            print(f"{name:18}" + "".join(f"{value:10.3f}" for value in values) + f"   {int(part.sum()):,} pairs")


def precisions(found: Look) -> list[float]:
    """Precisions within reach: below the score in training, which a round has to pass."""
    most = int(found.training / STEP - 1e-9)
    return [round(place * STEP, 2) for place in range(max(1, most - 9), most + 1)] or [STEP]


def outlook(
    precision: float, tolerance: float, looks: Sequence[Look], pool: int, step_seconds: float, score_seconds: float
) -> Outlook:
    """What a precision leads to."""
    bar = precision * tolerance
    first, second = ((found.scores < bar).sum() for found in looks)
    count = len(looks[0].scores)
    core = forecast_core(LEARNT, (int(first), int(second)), count, pool)
    seconds = core * STEPS_A_PAIR * step_seconds + (2 * pool + 25 * core) * score_seconds
    return Outlook(precision, bar, float(second / count), core, seconds)


def forecast_core(learnt: tuple[int, int], failing: tuple[int, int], looked_at: int, pool: int) -> int:
    """Guess how many pairs a walk chooses.

    Of the pairs that a core of k pairs leaves, a share a · k^(−b) is taken to fail, a power law as learning curves
    mostly are (Hestness et al., *Deep Learning Scaling is Predictable, Empirically*, 2017). A walk that tests n pairs
    then chooses dk/dn = a · k^(−b), so that a pool of N pairs leaves it with k = ((1 + b) · a · N)^(1 / (1 + b)).

    Parameters
    ----------
    learnt : tuple of int
        Pairs that a network had learnt at two moments, the second more than the first.
    failing : tuple of int
        Pairs that failed then, of some that it had not learnt.
    looked_at : int
        Number of these.
    pool : int
        Pairs of the pool.

    Returns
    -------
    int
        Pairs of the core, at most the pool.
    """
    first, second = (max(LEAST, count) / looked_at for count in failing)
    # A share that falls faster than in proportion, or not at all, is mostly chance in so few pairs.
    power = min(1.0, max(0.0, math.log(first / second) / math.log(learnt[1] / learnt[0])))
    factor = second * learnt[1] ** power
    size: float = ((1 + power) * factor * pool) ** (1 / (1 + power))
    return min(pool, max(1, round(size)))


def advised(outlooks: Sequence[Outlook], pool: int) -> Outlook:
    """The highest precision whose core is small; if there is none, that of the smallest core."""
    small = [each for each in outlooks if each.core <= MOST * pool]
    return max(small) if small else min(outlooks, key=lambda each: each.core)


if __name__ == "__main__":
    run("suggest", main)
