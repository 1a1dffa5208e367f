"""A network with its optimizer: fit an epoch, score pairs, save, load."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from stages import hardware, networks
from stages.errors import UserError
from stages.losses import LOSSES
from stages.optimizers import Adam
from stages.params import Params
from stages.scores import SCORES, Fit, PixelCounts
from stages.store import Block, Pairs
from stages.strategies import Epoch

PREDICTION_BATCH = 50
THRESHOLD = 0.5  # a pixel with a greater probability is predicted to belong to the mask


class Predictor:
    """A network that predicts pairs of a set; positions are those of the set.

    Parameters
    ----------
    network : keras.Model
        From images of the set, scaled to [0, 1], to probabilities.
    pairs : Pairs
        The set.
    """

    def __init__(self, network: keras.Model, pairs: Pairs) -> None:
        expected = (None, *pairs.layout.image_shape)
        if network.input_shape != expected:
            raise UserError(f"{pairs.path}: images of {expected[1:]}, the network takes {network.input_shape[1:]}")
        self.network = network
        self.pairs = pairs
        # Batches of any size: one graph for them all.
        self._signature = [
            tf.TensorSpec((None, *pairs.layout.image_shape), pairs.layout.dtype),
            tf.TensorSpec((None, *pairs.layout.mask_shape), tf.uint8),
        ]
        self._predict_step = tf.function(self._predict, input_signature=self._signature, autograph=False)

    def fits(self, positions: Sequence[int] | np.ndarray) -> Iterator[Fit]:
        """How the predictions of some pairs fit, block by block.

        Every block is predicted as a full batch: the last bits of a prediction can depend on the size of its batch,
        and so what is computed here does not depend on how many pairs are asked for.
        """
        blocks = _split(np.asarray(positions), PREDICTION_BATCH)
        full = (np.pad(block, (0, PREDICTION_BATCH - len(block)), mode="edge") for block in blocks)
        for block, fit in zip(blocks, self._fits(full), strict=True):
            yield Fit(*(PixelCounts(*(count[: len(block)] for count in counts)) for counts in fit))

    def _fits(self, blocks: Iterable[np.ndarray]) -> Iterator[Fit]:
        for block in self.pairs.stream(blocks):
            mask, soft = self._predict_step(*block)
            yield Fit(_as_counts(mask, block), _as_counts(soft, block))

    def _predict(self, images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        predicted = self.network(self._scaled(images), training=False)
        return _count(masks, predicted > THRESHOLD), _count(masks, predicted)

    def _scaled(self, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(images, tf.float32) / self.pairs.layout.scale


@dataclass
class EpochUnderWay:
    """How far an epoch has come: the step that keys its order, batches done, sums of score and loss over pairs."""

    step: int
    batches: int = 0
    scores: float = 0.0
    losses: float = 0.0


class Learner(Predictor):
    """A network that trains on pairs of a set and scores them.

    Parameters
    ----------
    network : keras.Model
        Compiled with its optimizer.
    pairs : Pairs
        The set.
    params : Params
        ``score``, ``training.loss`` and ``training.seed`` are used.
    batch_size : int
        Pairs of a training step.

    Attributes
    ----------
    after_batch : callable
        Called after each training step: the moment to save a checkpoint.
    """

    def __init__(self, network: keras.Model, pairs: Pairs, params: Params, batch_size: int) -> None:
        assert params.score is not None  # nulls are replaced
        assert params.training.loss is not None
        super().__init__(network, pairs)
        self.batch_size = batch_size
        self.after_batch: Callable[[], None] = lambda: None
        self._epochs = 0
        self._under_way: EpochUnderWay | None = None
        self._pair_score = SCORES[params.score]
        self._loss = LOSSES[params.training.loss]
        self._seed = params.training.seed
        self._train_step = tf.function(self._train, input_signature=self._signature, autograph=False)

    @classmethod
    def new(cls, pairs: Pairs, params: Params, batch_size: int) -> Self:
        """A learner with fresh weights; ``network`` and ``training`` of the parameters are used."""
        training = params.training
        policy = hardware.precision_policy(training.precision_policy)
        network = networks.build(params.network, pairs.layout.image_shape, policy, training.seed)
        network.compile(optimizer=Adam(training.learning_rate))
        network.optimizer.build(network.trainable_variables)
        return cls(network, pairs, params, batch_size)

    @classmethod
    def load(cls, path: Path, pairs: Pairs, params: Params, batch_size: int) -> Self:
        """A learner that goes on from a saved network and its optimizer.

        Raises
        ------
        UserError
            If there is no such file, or it is not a network with an optimizer.
        """
        network = networks.load(path)
        if network.optimizer is None:
            raise UserError(f"{path}: holds no optimizer, expected a model that a stage of Traincore saved")
        return cls(network, pairs, params, batch_size)

    @property
    def policy(self) -> str:
        """What the network computes in: "float32" or "mixed_bfloat16"."""
        kinds = {layer.compute_dtype for layer in self.network.layers}
        return "mixed_bfloat16" if "bfloat16" in kinds else "float32"

    def fit_epoch(self, positions: Sequence[int]) -> Epoch:
        """Train once on each of some pairs, in an order that is drawn anew for each epoch.

        Parameters
        ----------
        positions : sequence of int, shape (n,)
            Which pairs; after `restore` in the middle of an epoch the same as before.

        Returns
        -------
        Epoch
            Score and loss as means over the pairs, taken batch by batch as the weights move, dropout on.

        Raises
        ------
        UserError
            If the loss or a weight is no longer a finite number.
        """
        # The optimizer's step count tells one epoch from another, so that the order needs no state of its own.
        step = int(self.network.optimizer.iterations.numpy())
        epoch = self._under_way = self._under_way or EpochUnderWay(step)
        order = np.random.default_rng((self._seed, epoch.step)).permutation(np.asarray(positions))
        for block in self.pairs.stream(_split(order, self.batch_size)[epoch.batches :]):
            counts, loss = self._train_step(*block)
            if not np.isfinite(loss):
                raise self._diverged(f"the loss is {float(loss)}")
            epoch.batches += 1
            epoch.scores += float(self._pair_score(_as_counts(counts, block)).sum())
            epoch.losses += float(loss) * len(block.images)
            self.after_batch()
        self._require_finite(self.network.variables)
        self._under_way = None
        self._epochs += 1
        return Epoch(epoch.scores / len(order), epoch.losses / len(order))

    def score(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """How well each of some pairs is predicted.

        Parameters
        ----------
        positions : sequence of int, shape (n,)
            Which pairs.

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        fits = self._fits(_split(np.asarray(positions), PREDICTION_BATCH))
        return np.concatenate([self._pair_score(fit.mask) for fit in fits])

    def verify(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """The same as `score`, bit for bit as stage ``evaluate`` will compute it from the saved network."""
        return np.concatenate([self._pair_score(fit.mask) for fit in self.fits(positions)])

    def save(self, path: Path) -> None:
        """Write the network with its optimizer; equal weights give equal files.

        Raises
        ------
        UserError
            If a weight is not finite, or the file cannot be written.
        """
        self._require_finite(self._variables())
        folder = path.with_suffix(".saving")
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed run
        try:
            folder.mkdir()
            saved = folder / "network.keras"
            self.network.save(saved)
            _copy_reproducibly(saved, path)
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
            if isinstance(error, RuntimeError) and "No space left" not in reason:  # what HDF5 says of a full disk
                raise
            raise hardware.cannot_write(reason, 2 * self.file_bytes, path) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def file_bytes(self) -> int:
        """About how large a saved network is: its weights and the optimizer's two moments of each."""
        return sum(4 * int(np.prod(variable.shape)) for variable in self._variables())

    def state(self) -> dict[str, np.ndarray]:
        """All that further training depends on, as arrays: weights, optimizer, random states, the epoch under way.

        Raises
        ------
        UserError
            If any of it is not finite.
        """
        self._require_finite(self._variables())
        arrays = {f"variable {number}": variable.numpy() for number, variable in enumerate(self._variables())}
        under_way = list(asdict(self._under_way).values()) if self._under_way else []
        return {**arrays, "epochs": np.array(self._epochs), "under way": np.array(under_way, dtype=np.float64)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state of a learner of the same network."""
        for number, variable in enumerate(self._variables()):
            variable.assign(state[f"variable {number}"])
        self._epochs = int(state["epochs"])
        if state["under way"].size:
            step, batches, scores, losses = state["under way"].tolist()
            self._under_way = EpochUnderWay(int(step), int(batches), scores, losses)

    def _variables(self) -> list[keras.Variable]:
        variables: list[keras.Variable] = self.network.variables + self.network.optimizer.variables
        return variables

    def _require_finite(self, variables: Iterable[keras.Variable]) -> None:
        if networks.find_not_finite(variables) is not None:
            raise self._diverged("a weight is not finite")

    def _diverged(self, what: str) -> UserError:
        rate = float(self.network.optimizer.learning_rate.numpy())
        return UserError(
            f"training diverged: {what} in epoch {self._epochs + 1} at training.learning_rate = {rate:g}; "
            "lower training.learning_rate or set training.precision_policy=float32"
        )

    def _train(self, images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        truth = tf.cast(masks, tf.float32)
        with tf.GradientTape() as tape:
            predicted = self.network(self._scaled(images), training=True)
            loss = self._loss(truth, predicted)
        variables = self.network.trainable_variables
        self.network.optimizer.apply(tape.gradient(loss, variables), variables)
        return _count(masks, predicted > THRESHOLD), loss


def _split(positions: np.ndarray, size: int) -> list[np.ndarray]:
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def _count(masks: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Sums over each pair's pixels of truth · predicted, truth, and predicted; float32 of shape (n, 3).

    Sums of whole numbers below 2²⁴ are exact in float32.
    """
    truth, predicted = tf.cast(masks, tf.float32), tf.cast(predicted, tf.float32)
    return tf.stack([tf.reduce_sum(x, axis=(1, 2, 3)) for x in (truth * predicted, truth, predicted)], axis=1)


def _as_counts(sums: tf.Tensor, block: Block) -> PixelCounts:
    both, truth, predicted = sums.numpy().astype(np.float64).T
    pixels = np.prod(block.masks.shape[1:])
    return PixelCounts(both, predicted - both, truth - both, pixels - truth - predicted + both)


def _copy_reproducibly(saved: Path, target: Path) -> None:
    """Copy a .keras file without what differs from run to run: dates, and addresses in memory."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(target, "w") as copy:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "metadata.json":
                content = json.dumps({**json.loads(content), "date_saved": ""}).encode()
            elif name == "config.json":
                content = json.dumps(_without_addresses(json.loads(content))).encode()
            copy.writestr(zipfile.ZipInfo(name), content)


def _without_addresses(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without_addresses(value) for key, value in config.items() if key != "shared_object_id"}
    return [_without_addresses(value) for value in config] if isinstance(config, list) else config
