"""Stage ``train_seed``: train a fresh network on the first pairs until it knows them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stages.learning.protocol import Epoch, Learner
from stages.learning.tensorflow import processor, set_up_training
from stages.pairs.read import Pairs
from stages.pairs.tables import write_csv
from stages.pipeline import paths
from stages.pipeline.checkpoints import State, resumable
from stages.pipeline.disk import require_space
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic, digest, digest_if_any, write_json
from stages.pipeline.params import load
from stages.pipeline.params.sections import Params
from stages.pipeline.progress import Progress
from stages.strategies.shared.pool import earlier_model, open_pool

OUTPUTS = (paths.SEED_MODEL, paths.SEED_RECORD, paths.SEED_METRICS, paths.SEED_CURVE)
Watch = Callable[[int, Mapping[str, Any]], object]  # takes an epoch's number and figures


def main() -> None:
    """Write the seed network with its record, its metrics, and its score and loss by epoch."""
    params = load("train_seed")
    pool = open_pool(params.select, params.seed_training.filled)
    pairs = pool.pairs
    seeds = range(params.seed_training.count)
    if len(seeds) > len(pairs):
        raise UserError(
            f"seed_training.count is {len(seeds)}, allowed is at most {len(pairs)}, "
            f"the pairs of {paths.POOL} that select.exclude leaves"
        )
    earlier = earlier_model(params.select)
    threads = set_up_training()
    # These import TensorFlow: bad input need not wait for that.
    from stages.learning import board, learner, saving

    watched = board.Board("train_seed")
    # So few pairs are learnt soonest as they are.
    student = learner.Learner.new(pairs, params, params.seed_training.batch_size, plain=True)
    inputs = {"pool": pool.digest, "network": digest_if_any(params.network.path)}
    if earlier:
        student.take_over(earlier)
        inputs["earlier model"] = digest(earlier)
    machine = {"threads": threads, "processor": processor(), "precision_policy": student.policy}
    with (
        resumable("train_seed", params, inputs, machine) as saved,
        atomic(*OUTPUTS) as (model, record, metrics, curve),
    ):
        # Two checkpoints, the network and a copy of it.
        require_space(paths.SEED_MODEL, 4 * saving.bytes_of(student.trained))
        epochs: list[Epoch] = []
        if saved.found:
            epochs = [Epoch(*each) for each in saved.found.plain["epochs"]]
            student.restore(saved.found.arrays)

        def state() -> State:
            return State({"epochs": epochs}, student.state())

        student.after_batch = lambda: saved.save_if_due(state)
        with Progress("train_seed", params.seed_training.max_epochs, "epoch", disk=None) as progress:
            _warn_of_empty_masks(pairs, seeds, progress)
            if saved.found:
                progress.go_on(len(epochs))
            if params.seed_training.goal != "skip" and not earlier:
                train(student, seeds, params, epochs, progress, watched.show)
        watched.flush()
        saved.save(state())
        student.save(model)
        write_csv(curve, ["epoch", "score", "loss"], [[number, *epoch] for number, epoch in enumerate(epochs, 1)])
        write_json(
            metrics,
            {
                "epochs": len(epochs),
                "pairs_trained": len(epochs) * len(seeds),
                "score": epochs[-1].score if epochs else None,
                "loss": epochs[-1].loss if epochs else None,
                "seconds": saved.seconds(),
            },
        )
        write_json(
            record,
            {
                "image_size": pairs.layout.image_shape[0],
                "base_filters": params.network.base_filters,
                "dropout": params.network.dropout,
                "loss": params.training.loss,
                "score": params.score,
                "goal": params.seed_training.goal,
                **machine,
            },
        )


def train(
    learner: Learner, seeds: Sequence[int], params: Params, epochs: list[Epoch], progress: Progress, watch: Watch
) -> None:
    """Train on the seed pairs until an epoch's score passes the precision.

    Parameters
    ----------
    epochs : list of Epoch
        Those done so far; each further one is added.
    watch : callable
        Called after each epoch with its number and its figures.

    Raises
    ------
    UserError
        If it does not within ``seed_training.max_epochs``, and ``seed_training.goal`` is to learn.
    """
    while not epochs or epochs[-1].score <= params.precision:
        if len(epochs) == params.seed_training.max_epochs:
            if params.seed_training.goal == "try":
                progress.warn("seed_training.max_epochs are over before precision was passed; select goes on with that")
                return
            best = max(epoch.score for epoch in epochs)
            raise UserError(
                f"the best score in seed_training.max_epochs = {len(epochs)} epochs is {best:.4f}, precision = "
                f"{params.precision} was not passed; try more epochs, a lower precision "
                "(`python -m stages.suggest` says which is within reach), less dropout or another learning_rate"
            )
        epochs.append(learner.fit_epoch(seeds))
        progress.show(len(epochs), score=epochs[-1].score, loss=epochs[-1].loss)
        watch(len(epochs), epochs[-1]._asdict())


def _warn_of_empty_masks(pairs: Pairs, seeds: Sequence[int], progress: Progress) -> None:
    filled = int(pairs.with_foreground(seeds).sum())
    if filled * 2 < len(seeds):
        progress.warn(
            f"only {filled} of {len(seeds)} seed pairs have any foreground: empty masks are learnt at once and teach "
            "nothing; another select.order_seed takes other seed pairs"
        )


if __name__ == "__main__":
    run("train_seed", main)
