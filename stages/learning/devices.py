"""The devices that a network trains on together, where there are several."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import tensorflow as tf

from stages.learning.tensorflow import devices


@cache
def strategy() -> tf.distribute.MirroredStrategy | None:
    """The strategy that keeps a copy of a network on each GPU; None where there is one device, which needs none."""
    names = devices()
    return tf.distribute.MirroredStrategy(names) if len(names) > 1 else None


def on_all_devices() -> AbstractContextManager[object]:
    """Create variables within on every device that trains."""
    found = strategy()
    return found.scope() if found else nullcontext()
