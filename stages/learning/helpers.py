"""Workers of a cluster, if there is one, that help a stage to predict."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.learning.speculation import Part, Results, Speculation
from stages.learning.tensorflow import set_up_tensorflow
from stages.pairs.read import Pairs
from stages.pipeline import cluster
from stages.pipeline.errors import UserError
from stages.pipeline.files import digest
from stages.pipeline.workers import workers

if TYPE_CHECKING:
    from stages.learning.predictor import Predictor


@dataclass
class Helper:
    """A worker's predictor, and a key of the weights that it has."""

    predictor: "Predictor"
    key: str = ""


def compute(helper: Helper, part: Part, weights: list[np.ndarray]) -> Results:
    """The results of a graph for some blocks of rows, by some weights."""
    if part.key != helper.key:
        helper.predictor.network.set_weights(weights)
        helper.key = part.key
    return list(helper.predictor.compute(part.graph, part.blocks))


@contextmanager
def helped(model: Path, *predictors: "Predictor") -> Iterator[None]:
    """Have the workers of a cluster, if there is one, predict ahead of some predictors.

    Parameters
    ----------
    model : Path
        A saved network of the same build as theirs.
    *predictors : Predictor
        Those of the stage.
    """
    with ExitStack() as stack:
        for predictor in predictors if cluster.address() else ():
            files = model.resolve(), digest(model), predictor.pairs.path.resolve(), predictor.pairs.digest
            helpers = stack.enter_context(workers(None, _prepare, *files))
            predictor.speculation = Speculation(helpers, compute, predictor.network)
        yield


def _prepare(model: Path, digest_of_model: str, path: Path, digest_of_set: str) -> Helper:
    set_up_tensorflow()
    from stages.learning.predictor import Predictor
    from stages.learning.saving import load_network

    pairs = Pairs(path)
    if pairs.digest != digest_of_set:
        raise UserError(f"{path}: holds other pairs than those that the stage sees")
    network = load_network(model)
    if digest(model) != digest_of_model:
        raise UserError(f"{model}: is another network than the one that the stage sees")
    return Helper(Predictor(network, pairs))
