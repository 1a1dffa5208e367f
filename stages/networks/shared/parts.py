"""Parts of a training batch, one for each of several devices."""

from typing import Any

import tensorflow as tf


class Part:
    """The part of a batch that the device at hand has; in a function that `tf.distribute.Strategy.run` calls.

    All devices have as many rows, since the slowest one decides how long a step takes. What the last ones have too much
    repeats the last pair, and counts for nothing.

    Parameters
    ----------
    pairs : Tensor of int32, shape ()
        Pairs of the whole batch, at least 1.
    """

    def __init__(self, pairs: tf.Tensor) -> None:
        self.pairs = pairs

    def take(self, batch: tf.Tensor) -> tf.Tensor:
        """The rows of a whole batch that are this device's."""
        devices = tf.distribute.get_replica_context().num_replicas_in_sync
        count = (self.pairs + devices - 1) // devices
        return tf.gather(batch, tf.minimum(_place() * count + tf.range(count), self.pairs - 1))

    def first(self, part: tf.Tensor) -> tf.Tensor:
        """The row of the whole batch that a part begins with."""
        return _place() * tf.shape(part)[0]

    def counted(self, part: tf.Tensor) -> tf.Tensor:
        """1 for rows that count and 0 for others; float32, of as many axes as the part."""
        rows = self.first(part) + tf.range(tf.shape(part)[0])
        return tf.reshape(tf.cast(rows < self.pairs, tf.float32), [-1] + [1] * (part.shape.rank - 1))

    def total(self, value: tf.Tensor) -> tf.Tensor:
        """The sum of a value over all devices; gradients flow through it to each of them."""
        return _sum(value)

    def join(self, part: tf.Tensor) -> tf.Tensor:
        """The whole batch from the parts of all devices; gradients flow to this device's part alone."""
        gathered = tf.stop_gradient(tf.distribute.get_replica_context().all_gather(part, axis=0))
        first = self.first(part)
        return tf.concat([gathered[:first], part, gathered[first + tf.shape(part)[0] :]], axis=0)[: self.pairs]


def from_first(*tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Tensors of the first device, on all devices: exact for uint8, float32 and whole numbers below 2⁵³."""
    kinds = [tf.float32 if each.dtype in (tf.uint8, tf.float32) else tf.float64 for each in tensors]
    own = [tf.cast(each, kind) for each, kind in zip(tensors, kinds, strict=True)]
    own = [tf.where(_place() == 0, each, tf.zeros_like(each)) for each in own]  # elsewhere there may be NaN
    found: dict[int, tf.Tensor] = {}
    for kind in sorted(set(kinds), key=str):  # one message each, in the same order everywhere
        numbers = [number for number, each in enumerate(kinds) if each == kind]
        found |= zip(numbers, _sum([own[number] for number in numbers]), strict=True)
    return tuple(tf.cast(found[number], each.dtype) for number, each in enumerate(tensors))


def _sum(value: Any) -> Any:
    """The sum of a tensor, or of each of a list, over all devices."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def _place() -> tf.Tensor:
    """The device's number among all, from 0 on."""
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
