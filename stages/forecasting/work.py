"""How much there will be to learn and to score: known, taken from an earlier run, or guessed."""

import math
from pathlib import Path
from typing import NamedTuple

from stages.pairs.tables import read_rows
from stages.pipeline import paths
from stages.pipeline.files import read_metrics
from stages.pipeline.machine import THREADS, count_from_environment
from stages.pipeline.params import choices, validation
from stages.pipeline.params.sections import NOTHING, Params
from stages.pipeline.params.yaml import read_yaml

LOCK = Path("dvc.lock")  # the parameters of the run whose metrics are there
STAGES = ("generate@train", "train_seed", "select")
# What may differ in an earlier run: its core is of about the same size all the same.
LIKE = {"dataset.train_count", "dataset.train_seed", "select.order_seed", "training.seed"}

GUESSED, SCALED = 3.0, 2.0  # factors within which the figures of another run mostly lie
FAR = 4  # times the pool of that run, and more: then they are a guess

# Strategies that rate the pool, and how often.
RATES = {"uncertainty": 1, "k_center": 1, "facility_location": 1}


class Walked(NamedTuple):
    """A walk: epochs of the seed training, pairs of the pool and of the core, training steps, pairs trained, scored."""

    epochs: int
    pool: int
    selected: int
    steps: int
    trained: int
    scored: int


# On drawn pairs, the full runs of the README.
FULL_RUNS = {
    "pick_to_learn": Walked(101, 10_000, 68, 692, 12_012, 28_466),
    "first_failure": Walked(195, 10_000, 296, 1_100, 48_990, 11_730),
}


class Work(NamedTuple):
    """What the stages that train have to do.

    Attributes
    ----------
    epochs : int
        Of the seed training.
    core : int
        Pairs that are chosen, the seed pairs among them.
    rounds : int
        Times that the statistics of the core are estimated.
    steps, trained, scored : int
        Training steps of stage ``select``, pairs that it trains on in all of them, and pairs that it scores.
    verified : int
        Pairs that stage ``evaluate`` need not predict again.
    factor : float
        The work may be as many times more or less.
    source : str
        Where that is known from.
    """

    epochs: int
    core: int
    rounds: int
    steps: int
    trained: int
    scored: int
    verified: int
    factor: float
    source: str


def work_for(params: Params, pool: int) -> Work:
    """The work for a pool of some pairs."""
    strategy = params.select.strategy
    if strategy not in FULL_RUNS:
        return _by_budget(params, pool)
    earlier, same = _earlier()
    walked = earlier or FULL_RUNS[strategy]
    growth = pool / walked.pool
    # Failures grow rarer as the core grows: it is taken to grow as the square root of the pool.
    slow = math.sqrt(growth)
    seeds = min(pool, params.seed_training.count)
    core = min(pool, seeds + round(slow * max(0, walked.selected - seeds)))
    tested = strategy == "pick_to_learn"  # nearly all pairs, with the network that is left
    retrained = 0 if earlier else params.select.retrain  # in an earlier run it is among the steps
    step = params.select.options.replay_size if tested else params.select.batch_size
    if same:
        factor, source = 1.0, "as in the last run"
    elif earlier:
        factor = SCALED if 1 / FAR <= growth <= FAR else GUESSED
        source = f"scaled from the last run, whose pool had {walked.pool:,}"
    else:
        factor, source = GUESSED, "a guess without an earlier run with these parameters; other pairs can need far more"
    return Work(
        epochs=0 if _no_seed_training(params) else min(walked.epochs, params.seed_training.max_epochs),
        core=core,
        rounds=(core - seeds) * tested,
        steps=round(slow * walked.steps) + retrained,
        trained=round(slow * walked.trained) + retrained * step,
        scored=round(growth * walked.scored),
        verified=(pool - core) * tested,
        factor=factor,
        source=source,
    )


def _by_budget(params: Params, pool: int) -> Work:
    """The work of a strategy that chooses a number of pairs and trains for a budget."""
    options, budget, size = params.select.options, params.select.budget, params.select.batch_size
    core = min(pool, budget.count)
    if params.select.strategy == "everything":
        core = pool
    elif params.select.strategy == "given":
        core = len(read_rows(Path(options.table), pool))
    rating: int = getattr(options, "rating_epochs", 0)
    return Work(
        epochs=0
        if _no_seed_training(params)
        else min(FULL_RUNS["pick_to_learn"].epochs, params.seed_training.max_epochs),
        core=core,
        rounds=0,
        steps=(budget.steps or budget.epochs * math.ceil(core / size)) + rating * math.ceil(pool / size),
        trained=(budget.steps * size if budget.steps else budget.epochs * core) + rating * pool,
        scored=pool
        * (rating if params.select.strategy == "forgetting" else RATES.get(params.select.strategy, min(1, rating))),
        verified=0,
        factor=1.0,
        source="as the parameters say",
    )


def _no_seed_training(params: Params) -> bool:
    return params.seed_training.goal == "skip" or params.select.start_from != NOTHING


def _earlier() -> tuple[Walked | None, bool]:
    """The run whose results are there, if it had today's parameters but for `LIKE`; and whether it was the same."""
    if not all(path.is_file() for path in (LOCK, paths.SEED_METRICS, paths.SELECT_METRICS)):
        return None, False
    lock, now = read_yaml(LOCK), {str(path): read_yaml(path) for path in (validation.FILE, choices.FILE)}
    then = [choices.get(lock, f"stages.{stage}.params") for stage in STAGES]
    if None in then:
        return None, False
    values = [(file, *each) for params in then for file, held in params.items() for each in held.items()]
    differing = {key for file, key, value in values if choices.get(now.get(file), key) != value}
    figures = {**read_metrics(paths.SELECT_METRICS), "epochs": read_metrics(paths.SEED_METRICS).get("epochs")}
    names = ("epochs", "pool", "selected", "steps", "pairs_trained", "pairs_scored")
    if differing - LIKE or not all(isinstance(figures.get(name), int) for name in names):
        return None, False
    # With another number of threads a walk takes another course.
    threads = read_metrics(paths.SEED_RECORD).get("threads") if paths.SEED_RECORD.is_file() else None
    same = not differing and threads == count_from_environment(THREADS)
    return Walked(*(figures[name] for name in names)), same
