"""A network with its optimizer: fit an epoch, score pairs, save, load."""

import json
import shutil
import zipfile
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from stages import hardware, networks
from stages.errors import UserError
from stages.losses import LOSSES
from stages.networks.layers import estimating
from stages.optimizers import Adam
from stages.params import Params
from stages.predictor import PREDICTION_BATCH, Predictor, as_fit, compare, split
from stages.scores import SCORES, Fit
from stages.store import Pairs
from stages.strategies import Epoch


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
        ``score``, ``training.loss``, ``training.seed`` and ``training.statistics`` are used.
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
        self._estimates = params.training.statistics == "estimated"
        self._unsettled = np.empty(0, np.int64)  # what was trained on since the statistics were estimated last
        self._average: list[np.ndarray] = []  # of the weights each time that they were to be remembered
        self._remembered = 0
        self._train_step = tf.function(self._train, input_signature=self._signature, autograph=False)
        share = tf.TensorSpec((), tf.float32)
        self._settle_step = tf.function(self._move, input_signature=[*self._signature, share], autograph=False)

    @classmethod
    def new(cls, pairs: Pairs, params: Params, batch_size: int) -> Self:
        """A learner with fresh weights; ``network`` and ``training`` of the parameters are used."""
        training = params.training
        policy = hardware.precision_policy(training.precision_policy)
        network = networks.build(params.network, pairs.layout, policy, training.seed)
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
        keras.utils.set_random_seed(params.training.seed % 2**32)  # of dropout in a network of one's own
        return cls(_load(path), pairs, params, batch_size)

    def take_over(self, path: Path) -> None:
        """Go on from a saved network of the same build: its weights, and how far its optimizer is.

        Raises
        ------
        UserError
            If there is no such file, or its network is built otherwise.
        """
        earlier = _load(path)
        shapes = [[variable.shape for variable in network.variables] for network in (earlier, self.network)]
        if earlier.name != self.network.name or shapes[0] != shapes[1]:
            raise UserError(
                f"{path}: a network {earlier.name} of {earlier.count_params()} weights, the parameters ask for "
                f"{self.network.name} of {self.network.count_params()}; network has to be what that run had"
            )
        for variable, value in zip(self.network.variables, earlier.variables, strict=True):
            variable.assign(value)
        self._set_optimizer(earlier.optimizer.variables)

    @property
    def policy(self) -> str:
        """What the network computes in: "float32" or "mixed_bfloat16"."""
        kinds = {layer.compute_dtype for layer in self.network.layers}
        return "mixed_bfloat16" if "bfloat16" in kinds else "float32"

    def fit_epoch(self, positions: Sequence[int], steps: int | None = None, remember: Container[int] = ()) -> Epoch:
        """Train once on each of some pairs, in an order that is drawn anew for each epoch.

        Parameters
        ----------
        positions : sequence of int, shape (n,)
            Which pairs; after `restore` in the middle of an epoch the same as before.
        steps : int, optional
            Most training steps; pairs that are left then have to wait for another epoch.
        remember : container of int
            Steps of the epoch, counted from 1, after which the weights are taken into an average (Izmailov et al.,
            2018), which `recall` puts in place of them.

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
        if steps is not None:
            order = order[: steps * self.batch_size]
        for block in self.pairs.stream(split(order, self.batch_size)[epoch.batches :]):
            sums, loss = self._train_step(*block)
            if not np.isfinite(loss):
                raise self._diverged(f"the loss is {float(loss)}")
            epoch.batches += 1
            epoch.scores += float(self._pair_score(as_fit([sums], block)).sum())
            epoch.losses += float(loss) * len(block.images)
            if epoch.batches in remember:
                self._remember()
            self.after_batch()
        self._require_finite(self.network.variables)
        if self._estimates:
            self._unsettled = np.asarray(positions)
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
        self._settle()
        blocks = self.pairs.stream(split(np.asarray(positions), PREDICTION_BATCH))
        return np.concatenate([self._pair_score(as_fit([self._score_step(*block)], block)) for block in blocks])

    def verify(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """The same as `score`, bit for bit as stage ``evaluate`` will compute it from the saved network."""
        return np.concatenate([self._pair_score(fit) for fit in self.fits(positions)])

    def renew(self) -> None:
        """Put fresh weights in place of the trained ones: those that `new` would give it."""
        keras.utils.set_random_seed(self._seed % 2**32)
        fresh = keras.models.clone_model(self.network)
        for variable, initial in zip(self.network.variables, fresh.variables, strict=True):
            variable.assign(initial)
        self._set_optimizer([np.zeros(variable.shape, variable.dtype) for variable in self.network.optimizer.variables])

    def _remember(self) -> None:
        """Take the weights as they are into the average."""
        weights = [variable.numpy() for variable in self.network.trainable_variables]
        count = self._remembered + 1
        self._average = [old + (new - old) / count for old, new in zip(self._average or weights, weights, strict=True)]
        self._remembered = count

    def recall(self, positions: Sequence[int]) -> None:
        """Put the average in place of the weights, with statistics of batch normalisation estimated on some pairs.

        Once that is done there is no average any more, and nothing happens.
        """
        if not self._average:
            return
        for variable, value in zip(self.network.trainable_variables, self._average, strict=True):
            variable.assign(value)
        self._unsettled = np.asarray(positions)
        self._average, self._remembered = [], 0

    def save(self, path: Path) -> None:
        """Write the network with its optimizer; equal weights give equal files.

        Raises
        ------
        UserError
            If a weight is not finite, or the file cannot be written.
        """
        self._settle()
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
        progress = {"epochs": np.array(self._epochs), "under way": np.array(under_way, dtype=np.float64)}
        average = {f"average {number}": value for number, value in enumerate(self._average)}
        return {**arrays, **progress, "unsettled": self._unsettled, **average, "remembered": np.array(self._remembered)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state of a learner of the same network."""
        for number, variable in enumerate(self._variables()):
            variable.assign(state[f"variable {number}"])
        self._epochs = int(state["epochs"])
        self._unsettled = state["unsettled"]
        self._remembered = int(state["remembered"])
        count = len(self.network.trainable_variables) if self._remembered else 0
        self._average = [state[f"average {number}"] for number in range(count)]
        if state["under way"].size:
            step, batches, scores, losses = state["under way"].tolist()
            self._under_way = EpochUnderWay(int(step), int(batches), scores, losses)

    def _fits(self, blocks: Iterable[np.ndarray]) -> Iterator[Fit]:
        self._settle()
        yield from super()._fits(blocks)

    def _rate(self, step: Callable[..., tf.Tensor], positions: Sequence[int] | np.ndarray) -> np.ndarray:
        self._settle()
        return super()._rate(step, positions)

    def _settle(self) -> None:
        """Estimate the statistics of batch normalisation anew on what was last trained on, where that is asked for."""
        if not self._unsettled.size:
            return
        seen = 0
        for block in self.pairs.stream(split(self._unsettled, self.batch_size)):
            seen += len(block.images)
            self._settle_step(*block, len(block.images) / seen)
        self._unsettled = np.empty(0, np.int64)

    def _move(self, images: tf.Tensor, targets: tf.Tensor, share: tf.Tensor) -> None:
        with estimating(self.network, share):
            self.network(self._scaled(images), training=False)

    def _set_optimizer(self, values: Iterable[Any]) -> None:
        """Set what the optimizer has counted and averaged; its learning rate is a parameter and stays."""
        optimizer = self.network.optimizer
        for variable, value in zip(optimizer.variables, values, strict=True):
            if variable is not optimizer._learning_rate:
                variable.assign(value)

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

    def _train(self, images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            predicted = self.network(self._scaled(images), training=True)
            loss = self._loss(targets, predicted)
        variables = self.network.trainable_variables
        self.network.optimizer.apply(tape.gradient(loss, variables), variables)
        return compare(targets, predicted), loss


def _load(path: Path) -> keras.Model:
    """A saved network with its optimizer."""
    network = networks.load(path)
    if getattr(network, "optimizer", None) is None:
        raise UserError(f"{path}: holds no optimizer, expected a model that a stage of Traincore saved")
    return network


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
