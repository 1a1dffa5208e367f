"""A training step and a prediction at 128×128 against the same network from stock Keras layers, and from PyTorch."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from stages.learning.tensorflow import set_up_tensorflow
from stages.pairs.layout import Block, Layout
from stages.pipeline.params.sections import Params, TrainingParams
from tests.benchmarks.turns import row, time_in_turns
from tests.project import network_options

SIZE, FILTERS = 128, 16


def measure() -> list[str]:
    set_up_tensorflow()
    rows = []
    learners = {policy: _learner(policy) for policy in ("float32", "mixed_bfloat16")}
    stock = _stock()
    for batch, rounds in ((50, 7), (1, 30)):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (batch, SIZE, SIZE, 3), dtype=np.uint8)
        masks = (images[..., :1] > 128).astype(np.uint8)
        calls = _stock_calls(stock, images, masks)
        for policy, learner in learners.items():
            calls |= _our_calls(learner, policy, images, masks)
        torch_calls = _torch_calls(images, masks)
        seconds = time_in_turns(calls | torch_calls, rounds)
        for kind in ("train", "predict"):
            for policy in learners:
                what = f"{kind} {batch}, {policy} against stock Keras float32"
                rows.append(row(what, seconds[f"{kind} stock"], seconds[f"{kind} {policy}"]))
            if torch_calls:
                plain = min(seconds[f"{kind} torch {name}"] for name in ("float32", "bfloat16"))
                best = min(seconds[f"{kind} {policy}"] for policy in learners)
                rows.append(row(f"{kind} {batch}, against PyTorch, each at its best", plain, best))
    return rows


def _learner(policy: Any) -> Any:
    from stages.learning.learner import Learner

    params = Params.model_construct(
        score="tiered_iou",
        score_background=False,
        network=network_options("residual_unet", base_filters=FILTERS),
        training=TrainingParams(
            average=0.0,
            augmentation="none",
            learning_rate=0.001,
            loss="bce_dice",
            seed=0,
            precision_policy=policy,
            statistics="moving",
        ),
    )
    layout = Layout(50, (SIZE, SIZE, 3), "uint8")
    return Learner.new(SimpleNamespace(layout=layout), params, 50)  # type: ignore[arg-type]


def _our_calls(learner: Any, policy: str, images: np.ndarray, masks: np.ndarray) -> dict[str, Callable[[], object]]:
    return {
        f"train {policy}": lambda: learner._train_step(Block(images, masks))[1],
        f"predict {policy}": lambda: learner._graphs["fit"](images, masks)[0].numpy(),
    }


def _stock() -> Any:
    from tests.benchmarks.plain import compiled_network

    return compiled_network(SIZE, FILTERS)


def _stock_calls(network: Any, images: np.ndarray, masks: np.ndarray) -> dict[str, Callable[[], object]]:
    scaled, truth = images.astype(np.float32) / 255, masks.astype(np.float32)
    return {
        "train stock": lambda: network.train_on_batch(scaled, truth),
        "predict stock": lambda: network.predict_on_batch(scaled),
    }


def _torch_calls(images: np.ndarray, masks: np.ndarray) -> dict[str, Callable[[], object]]:
    try:
        from tests.benchmarks import torch_network
    except ImportError:
        print("PyTorch is not installed: not compared")
        return {}
    named = torch_network.steps(images, masks)
    return {name.replace(" ", " torch ", 1): call for name, call in named.items()}
