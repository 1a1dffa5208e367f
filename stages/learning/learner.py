"""A network with its optimizer that learns pairs of a set."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Self

import keras
import numpy as np

from stages.learning.averaging import MovingAverage, RunningAverage
from stages.learning.devices import on_all_devices
from stages.learning.measures import as_fit
from stages.learning.optimizers import Adam
from stages.learning.predictor import Predictor, in_blocks
from stages.learning.protocol import PREDICTION_BATCH, Epoch, Verified
from stages.learning.saving import load_with_optimizer, save_network, variables_of
from stages.learning.scores import score_of, shortfall
from stages.learning.statistics import BatchStatistics
from stages.learning.tensorflow import precision_policy
from stages.learning.training import TrainingStep
from stages.learning.weights import renew_weights, take_over_weights
from stages.networks.shared.build import build_network
from stages.pairs.read import Pairs
from stages.pipeline.params.sections import Params


@dataclass
class EpochUnderWay:
    """Progress of an epoch: the step that keys its order, batches done, sums of score and loss over pairs."""

    step: int
    batches: int = 0
    scores: float = 0.0
    losses: float = 0.0


class Learner(Predictor):
    """A network that trains on pairs of a set and scores them.

    Parameters
    ----------
    network : keras.Model
        Compiled with its optimizer. With ``training.average`` it trains, and a twin predicts whose weights are the
        average of its own.
    pairs : Pairs
        The set.
    params : Params
        ``score``, ``score_background``, and of ``training`` all but the learning rate and the precision are used.
    batch_size : int
        Pairs of a training step.
    plain : bool
        Whether no pair is augmented, whatever the parameters are.

    Attributes
    ----------
    after_batch : callable
        Called after each training step of an epoch, to save a checkpoint; a single step is saved by whoever counts it.
    """

    def __init__(
        self, network: keras.Model, pairs: Pairs, params: Params, batch_size: int, plain: bool = False
    ) -> None:
        self.trained = network = on_all_devices(network, pairs.layout, params.training.loss)
        self._moving = MovingAverage(network, params.training.average)
        super().__init__(self._moving.network, pairs)
        self.batch_size = batch_size
        self.after_batch: Callable[[], None] = lambda: None
        self._under_way: EpochUnderWay | None = None
        self._pair_score = score_of(params.score, params.score_background)
        self._seed = params.training.seed
        self._estimates = params.training.statistics == "estimated"
        self._statistics = BatchStatistics(self, batch_size)
        self._average = RunningAverage(network)
        self._train_step = TrainingStep(network, self._moving, params.training, plain, self.scaled, self._signature)

    @classmethod
    def new(cls, pairs: Pairs, params: Params, batch_size: int, plain: bool = False) -> Self:
        """A learner with fresh weights; ``network`` and ``training`` of the parameters are used."""
        policy = precision_policy(params.training.precision_policy)
        network = build_network(params.network, pairs.layout, policy, params.training.seed)
        network.compile(optimizer=Adam(params.training.learning_rate))
        network.optimizer.build(network.trainable_variables)
        return cls(network, pairs, params, batch_size, plain)

    @classmethod
    def load(cls, path: Path, pairs: Pairs, params: Params, batch_size: int) -> Self:
        """A learner that goes on from a saved network and its optimizer.

        Raises
        ------
        UserError
            If there is no such file, or it is not a network with an optimizer.
        """
        keras.utils.set_random_seed(params.training.seed % 2**32)  # of dropout in a network of one's own
        return cls(load_with_optimizer(path), pairs, params, batch_size)

    def take_over(self, path: Path) -> None:
        """Go on from a saved network of the same build: its weights, and the state of its optimizer.

        Raises
        ------
        UserError
            If there is no such file, or its network is built otherwise.
        """
        take_over_weights(self.trained, path)
        self._moving.begin()

    @property
    def policy(self) -> str:
        """Precision that the network computes in: "float32" or "mixed_bfloat16"."""
        return "mixed_bfloat16" if any(x.compute_dtype == "bfloat16" for x in self.trained.layers) else "float32"

    def fit_epoch(self, positions: Sequence[int], steps: int | None = None, remember: Container[int] = ()) -> Epoch:
        """Train once on each of some pairs, in an order that is drawn anew for each epoch.

        Parameters
        ----------
        positions : sequence of int, shape (n,)
            The pairs; after `restore` in the middle of an epoch the same as before.
        steps : int, optional
            Most training steps; pairs that are left then have to wait for another epoch.
        remember : container of int
            Steps of the epoch, counted from 1, after which the weights are taken into the average that `recall` puts in
            their place.

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
        epoch = self._under_way = self._under_way or EpochUnderWay(self._train_step.count)
        order = np.random.default_rng((self._seed, epoch.step)).permutation(np.asarray(positions))
        if steps is not None:
            order = order[: steps * self.batch_size]
        for block in self.pairs.stream(in_blocks(order, self.batch_size)[epoch.batches :]):
            sums, loss = self._train_step(block)
            epoch.batches += 1
            epoch.scores += float(self._pair_score(as_fit([sums], self.pixels)).sum())
            epoch.losses += loss * len(block.images)
            if epoch.batches in remember:
                self._average.remember()
            self.after_batch()
        self._train_step.require_finite(self.trained.variables)
        self.estimate(positions)
        self._under_way = None
        return Epoch(epoch.scores / len(order), epoch.losses / len(order))

    def fit_step(self, positions: Sequence[int], rate: float = 1.0, as_stored: int = 0) -> Epoch:
        """Train once on some pairs, together, at a share of ``training.learning_rate``; the first ones not augmented.

        Score and loss are those before the step, dropout on.

        Raises
        ------
        UserError
            If the loss is not a finite number.
        """
        block = self.pairs.read(positions)
        sums, loss = self._train_step(block, rate, as_stored)
        self.estimate(positions)
        return Epoch(float(self._pair_score(as_fit([sums], self.pixels)).mean()), loss)

    def estimate(self, positions: Sequence[int]) -> None:
        """Predict by statistics of some pairs from now on, if they are estimated at all."""
        if self._estimates:
            self._statistics.due = np.asarray(positions, np.int64)

    def score(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Scores of some pairs; float64, shape (n,)."""
        sums = self.compute("score", in_blocks(np.asarray(positions), PREDICTION_BATCH))
        return np.concatenate([self._pair_score(as_fit(each, self.pixels)) for each in sums])

    def verify(self, positions: Sequence[int] | np.ndarray) -> Verified:
        """Scores and fits of some pairs, bit for bit as the saved network gives them in stage ``evaluate``."""
        parts = [(self._pair_score(fit), fit.closeness(), shortfall(fit), fit.table()) for fit in self.fits(positions)]
        return Verified(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def renew(self) -> None:
        """Put fresh weights in place of the trained ones: the weights of a `new` learner."""
        renew_weights(self.trained, self._seed)
        self._moving.begin()
        self._statistics.due = np.empty(0, np.int64)

    def recall(self, positions: Sequence[int]) -> None:
        """Put the average in place of the weights, with statistics of batch normalisation estimated on some pairs.

        The average starts anew then; where nothing was remembered, nothing happens.
        """
        if self._average.recall():
            self._moving.begin()
            self._statistics.due = np.asarray(positions)

    def save(self, path: Path) -> None:
        """Write the network with its optimizer; equal weights give equal files.

        Raises
        ------
        UserError
            If a weight is not finite, or the file cannot be written.
        """
        self._statistics.settle()
        self._moving.put_back()
        self._train_step.require_finite(variables_of(self.trained))
        save_network(self.trained, path)

    def state(self) -> dict[str, np.ndarray]:
        """Arrays on which further training depends: weights, optimizer, random states, average, the epoch under way.

        Raises
        ------
        UserError
            If any of it is not finite.
        """
        variables = variables_of(self.trained) + self._moving.variables
        self._train_step.require_finite(variables)
        arrays = {f"variable {number}": variable.numpy() for number, variable in enumerate(variables)}
        under_way = np.array(astuple(self._under_way) if self._under_way else (), np.float64)
        return {**arrays, "under way": under_way, "unsettled": self._statistics.due, **self._average.state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state of a learner of the same network."""
        for number, variable in enumerate(variables_of(self.trained) + self._moving.variables):
            variable.assign(state[f"variable {number}"])
        self._statistics.due = state["unsettled"]
        self._average.restore(state)
        under_way = state["under way"].tolist()
        self._under_way = EpochUnderWay(*map(int, under_way[:2]), *under_way[2:]) if under_way else None

    def _settle(self) -> None:
        self._statistics.settle()
