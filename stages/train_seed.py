"""Stage ``train_seed``: train a fresh network on the first pairs until it knows them."""

import time
from collections.abc import Sequence
from pathlib import Path

from stages import hardware
from stages.entry import run, whole, write_json
from stages.errors import UserError
from stages.params import Params, load
from stages.progress import Progress
from stages.store import Pairs
from stages.strategies import Epoch, Learner

POOL = Path("data/train.zarr")
MODEL = Path("models/seed.keras")
METRICS = Path("metrics/seed.json")
CURVE = Path("metrics/plots/seed.csv")


def main() -> None:
    """Write the seed network, its metrics, and its score and loss by epoch."""
    started = time.perf_counter()
    params = load("train_seed")
    pairs = Pairs(POOL, params.select.order_seed)
    seeds = range(params.seed_training.count)
    if len(seeds) > len(pairs):
        raise UserError(f"seed_training.count is {len(seeds)}, allowed is at most {len(pairs)}, the pairs of {POOL}")
    threads = hardware.set_up_tensorflow()
    from stages import learner  # imports TensorFlow, which takes seconds that bad input need not wait for

    with whole(MODEL, METRICS, CURVE) as (model, metrics, curve):
        student = learner.Learner.new(pairs, params, params.seed_training.batch_size)
        with Progress("train_seed", params.seed_training.max_epochs, "epoch") as progress:
            _warn_of_empty_masks(pairs, seeds, progress)
            epochs = train(student, seeds, params, progress)
        student.save(model)
        curve.write_text("epoch,score,loss\n" + "".join(f"{n},{e.score},{e.loss}\n" for n, e in enumerate(epochs, 1)))
        write_json(
            metrics,
            {
                "epochs": len(epochs),
                "pairs_trained": len(epochs) * len(seeds),
                "score": epochs[-1].score,
                "loss": epochs[-1].loss,
                "seconds": round(time.perf_counter() - started, 1),
                "resolved": {
                    "image_size": pairs.layout.image_shape[0],
                    "base_filters": params.network.base_filters,
                    "dropout": params.network.dropout,
                    "loss": params.training.loss,
                    "score": params.score,
                    "precision_policy": student.policy,
                },
                "threads": threads,
                "processor": hardware.processor(),
            },
        )


def train(learner: Learner, seeds: Sequence[int], params: Params, progress: Progress) -> list[Epoch]:
    """Train on the seed pairs until an epoch's score passes the precision.

    Raises
    ------
    UserError
        If it does not within ``seed_training.max_epochs``.
    """
    epochs: list[Epoch] = []
    for number in range(1, params.seed_training.max_epochs + 1):
        epochs.append(learner.fit_epoch(seeds))
        progress.show(number, score=epochs[-1].score, loss=epochs[-1].loss)
        if epochs[-1].score > params.precision:
            return epochs
    best = max(epoch.score for epoch in epochs)
    raise UserError(
        f"the best score in seed_training.max_epochs = {len(epochs)} epochs is {best:.4f}, precision = "
        f"{params.precision} was not passed; try more epochs, a lower precision, less dropout or another learning_rate"
    )


def _warn_of_empty_masks(pairs: Pairs, seeds: Sequence[int], progress: Progress) -> None:
    filled = sum(int(pairs.read([seed]).masks.any()) for seed in seeds)
    if filled * 2 < len(seeds):
        progress.warn(
            f"only {filled} of {len(seeds)} seed pairs have any foreground: empty masks are learnt at once and teach "
            "nothing; another select.order_seed takes other seed pairs"
        )


if __name__ == "__main__":
    run("train_seed", main)
