"""A machine's part in the training that the first machine of ``TF_CONFIG`` decides on."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from stages.learning.averaging import MovingAverage
from stages.learning.training import TrainingStep
from stages.pairs.layout import Layout
from stages.pipeline.params.sections import TrainingParams


def step_of(network: keras.Model, facts: dict[str, Any]) -> Callable[[int], None]:
    """The training step of a network as the first machine makes it, by a number of pairs, which that one sends."""
    layout = Layout(**facts["layout"])
    return TrainingStep(
        network,
        MovingAverage(network, 0),
        TrainingParams.model_construct(loss=facts["loss"], seed=0),
        True,
        lambda images: tf.cast(images, tf.float32) / layout.scale,
        [
            tf.TensorSpec((None, *layout.image_shape), layout.dtype),
            tf.TensorSpec((None, *layout.target_shape), tf.uint8),
        ],
    ).follow
