"""Layers that compute what Keras' own do, in fewer passes over memory.

They work in float32 and in mixed_bfloat16, on processors and GPUs, on images of shape (n, h, w, c). A network is built
and saved with Keras' own layers, so that its file needs none of this: `speed_up` and `as_keras` swap them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages.networks.shared.parts import Part
from stages.pairs.layout import Layout
from stages.pipeline.params.sections import NetworkParams


@keras.saving.register_keras_serializable(package="traincore")  # to be cloned
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation in TensorFlow's fused kernel.

    Keras computes it by a chain of elementwise operations, in mixed precision in float32. The kernel reads
    bfloat16 and sums in float32.
    """

    # oneDNN has a vectorised bfloat16 kernel for whole blocks of this many channels; without them float32 is faster.
    BLOCK = 16

    # Set while `estimating`: the share of the averages that the batch at hand is to make up.
    _share: tf.Tensor | None = None
    _part: Part | None = None  # set while `splitting`

    @staticmethod
    def can_replace(layer: keras.layers.BatchNormalization) -> bool:
        """Whether a layer of Keras normalises the channels of images, with all its weights."""
        of_images = layer.input_spec.ndim == 4 and layer.axis in (-1, 3)
        return bool(of_images and layer.center and layer.scale and not getattr(layer, "renorm", False))

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        """Normalise by the batch in training and while estimating, by the averages otherwise."""
        learning = (bool(training) and self.trainable) or self._share is not None
        dtype = inputs.dtype
        if learning and self._part:
            return tf.cast(self._by_whole_batch(tf.cast(inputs, tf.float32), self._part), dtype)
        if inputs.shape[-1] % self.BLOCK:
            inputs = tf.cast(inputs, tf.float32)
        unused = tf.constant([], tf.float32)
        batch = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=unused if learning else self.moving_mean.value,
            variance=unused if learning else self.moving_variance.value,
            epsilon=self.epsilon,
            is_training=learning,
        )
        if learning:
            # The kernel returns the estimate for the population, n / (n - 1) times the batch's variance, which is
            # what Keras averages.
            values = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
            self._move(self.moving_mean, batch.batch_mean)
            self._move(self.moving_variance, batch.batch_variance * ((values - 1) / values))
        return tf.cast(batch.y, dtype)

    def _by_whole_batch(self, inputs: tf.Tensor, part: Part) -> tf.Tensor:
        """Normalise a part of a batch by mean and variance of the whole batch, which the devices add up."""
        counted = part.counted(inputs)
        values = tf.cast(part.pairs * (tf.size(inputs[0]) // inputs.shape[-1]), tf.float32)
        mean = part.total(tf.reduce_sum(inputs * counted, axis=(0, 1, 2))) / values
        variance = part.total(tf.reduce_sum(tf.square(inputs - mean) * counted, axis=(0, 1, 2))) / values
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return tf.nn.batch_normalization(inputs, mean, variance, self.beta.value, self.gamma.value, self.epsilon)

    def _move(self, average: keras.Variable, value: tf.Tensor) -> None:
        share = 1 - self.momentum if self._share is None else self._share
        average.value.assign_sub((average.value - value) * share)


@keras.saving.register_keras_serializable(package="traincore")  # to be cloned
class Dropout(keras.layers.Dropout):
    """Keras' dropout by a random bit or a few an element, where Keras draws a float.

    The rate is rounded to a multiple of 1/256.
    """

    STEPS = 8  # binary digits of a rate
    _part: Part | None = None  # set while `splitting`

    @staticmethod
    def can_replace(layer: keras.layers.Dropout) -> bool:
        """Whether a layer of Keras drops each element by itself."""
        return layer.noise_shape is None and layer.rate < 1

    @property
    def _kept_of_256(self) -> int:
        return int(max(1, round((1 - self.rate) * 2**self.STEPS)))

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Drop elements in training, and scale the others up to keep the mean."""
        if not training or self._kept_of_256 == 2**self.STEPS:
            return inputs
        if self._part is not None:
            drawn = self._drawn_for(self._part, inputs)
        else:
            drawn = self._random_bytes((tf.size(inputs) + 7) // 8)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def drop(inputs: tf.Tensor) -> tuple[tf.Tensor, object]:
            # For the backward pass the random bytes are kept and not the factors, which take 16 times the memory or
            # more. The dependency keeps TensorFlow from making the factors once and keeping them for both passes.
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                with tf.control_dependencies([upstream]):
                    return upstream * self._factors(drawn, upstream)

            return inputs * self._factors(drawn, inputs), gradient

        return drop(inputs)

    def _drawn_for(self, part: Part, inputs: tf.Tensor) -> tf.Tensor:
        """The random bytes of a part, of those that one device draws for the whole batch."""
        values = tf.size(inputs[0])
        first, count = part.first(inputs) * values, (tf.size(inputs) + 7) // 8
        drawn = self._random_bytes((part.pairs * values + 7) // 8)[first // 8 :]
        drawn = tf.cast(tf.pad(drawn, [[0, count + 1]]), tf.uint16)  # the last parts may have rows that do not count
        pairs = tf.bitwise.bitwise_or(drawn[:count], drawn[1 : count + 1] * 256)  # a part may begin within a byte
        return tf.cast(tf.bitwise.right_shift(pairs, tf.cast(first % 8, tf.uint16)), tf.uint8)

    def _factors(self, drawn: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        """Factors of the elements, 0 or the same number above 1, by a random bit each."""
        # A look-up turns eight bits at once into eight factors: twice as fast as comparing and casting each, and
        # faster still where it copies sixteen bytes as one number.
        bits = np.arange(256)[:, None] >> np.arange(8) & 1
        table = tf.constant(bits * (2**self.STEPS / self._kept_of_256), like.dtype)
        numbers = tf.bitcast(tf.reshape(table, [256, -1, 16 // like.dtype.size]), tf.complex128)
        factors = tf.bitcast(tf.gather(numbers, tf.cast(drawn, tf.int32)), like.dtype)
        return tf.reshape(tf.reshape(factors, [-1])[: tf.size(like)], tf.shape(like))

    def _random_bytes(self, count: tf.Tensor) -> tf.Tensor:
        """Bytes of which each bit is 1 with the probability that an element is kept; uint8 of shape (count,).

        Fair bits are combined along the binary digits of the probability, from the last 1 upwards: `and` halves
        it, `or` halves the way to 1. A rate of 1/2 takes one draw, 1/4 takes two.
        """
        last_one = (self._kept_of_256 & -self._kept_of_256).bit_length() - 1
        digits = [self._kept_of_256 >> place & 1 for place in range(last_one + 1, self.STEPS)]
        seed = tf.cast(self.seed_generator.next(), tf.int64)
        draws = tf.random.stateless_uniform([len(digits) + 1, (count + 7) // 8], seed, None, None, tf.uint64)
        bits = draws[0]
        for draw, digit in enumerate(digits, 1):
            bits = (tf.bitwise.bitwise_or if digit else tf.bitwise.bitwise_and)(bits, draws[draw])
        return tf.reshape(tf.bitcast(bits, tf.uint8), [-1])[:count]


@keras.saving.register_keras_serializable(package="traincore")  # to be cloned
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras' transposed convolution with a bias gradient that is right in bfloat16, too."""

    @staticmethod
    def can_replace(layer: keras.layers.Conv2DTranspose) -> bool:
        """Whether a layer of Keras has a bias, and nothing out of the ordinary."""
        plain = layer.output_padding is None and tuple(layer.dilation_rate) == (1, 1)
        return bool(plain and layer.use_bias and layer.data_format == "channels_last")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolve, then add the bias."""
        outputs = keras.ops.conv_transpose(inputs, self.kernel, strides=self.strides, padding=self.padding)
        return self.activation(_add_bias(outputs, tf.convert_to_tensor(self.bias)))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _add_bias(outputs: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, object]:
    # TensorFlow's own gradient adds bfloat16 up in bfloat16 on a processor, which stalls at a small share of the
    # sum, and takes six times as long.
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return upstream, tf.reduce_sum(upstream, axis=(0, 1, 2))

    return tf.nn.bias_add(outputs, bias), gradient


def convolve(x: keras.KerasTensor, filters: int, size: int, options: NetworkParams) -> keras.KerasTensor:
    """Convolve by ``size`` × ``size``, keeping height and width, then ReLU; the initialiser is an option."""
    convolution = keras.layers.Conv2D(
        filters, size, padding="same", activation="relu", kernel_initializer=str(options.initializer)
    )
    return convolution(x)


def probabilities(x: keras.KerasTensor, layout: Layout) -> keras.KerasTensor:
    """Probabilities of each pixel: to belong to the mask, or to each class; float32, (n, h, w, 1 or classes)."""
    activation = "softmax" if layout.classes else "sigmoid"
    return keras.layers.Conv2D(layout.classes or 1, 1, activation=activation, dtype="float32")(x)


FAST = {
    keras.layers.BatchNormalization: BatchNormalization,
    keras.layers.Dropout: Dropout,
    keras.layers.Conv2DTranspose: Conv2DTranspose,
}


def speed_up(network: keras.Model) -> None:
    """Have a network's layers of Keras compute by the layers here, in place, where these do the same."""
    # These have the state of Keras' own and other methods, so that nothing has to be copied.
    for layer in network._flatten_layers():
        fast: Any = FAST.get(type(layer))
        if fast and fast.can_replace(layer) and _is_common(layer):
            turn_into(fast, layer)


def _is_common(layer: keras.layers.Layer) -> bool:
    """Whether a layer computes in a precision that the layers here are tested in."""
    return layer.variable_dtype == "float32" and layer.compute_dtype in ("float32", "bfloat16")


@contextmanager
def as_keras(network: keras.Model) -> Iterator[None]:
    """Have a network's layers be Keras' own, to save it."""
    stock = {fast: own for own, fast in FAST.items()}
    for layer in network._flatten_layers():
        if type(layer) in stock:
            turn_into(stock[type(layer)], layer)
    try:
        yield
    finally:
        speed_up(network)


def turn_into(kind: type, thing: object) -> None:
    """Give a layer or an optimizer the methods of another class, one with the same state."""
    object.__setattr__(thing, "__class__", kind)  # Keras' own __setattr__ would track it as a part


@contextmanager
def splitting(network: keras.Model, part: Part) -> Iterator[None]:
    """Have layers train on a part of a batch as if they had the whole: its statistics, and what dropout drops of it.

    Parameters
    ----------
    network : keras.Model
        The network to call within; a graph that is traced within keeps to it.
    """
    found = [layer for layer in network._flatten_layers() if isinstance(layer, BatchNormalization | Dropout)]
    for layer in found:
        layer._part = part
    try:
        yield
    finally:
        for layer in found:
            layer._part = None


@contextmanager
def estimating(network: keras.Model, share: tf.Tensor) -> Iterator[None]:
    """Have batch normalisation move its averages towards a batch by a share, while all else is as in prediction.

    Parameters
    ----------
    network : keras.Model
        The network to call within; a graph that is traced within keeps to it.
    share : Tensor of float32, shape ()
        Weight of the batch in the new averages, in [0, 1]; at 1 the averages before have no part.
    """
    found = [layer for layer in network._flatten_layers() if isinstance(layer, BatchNormalization) and layer.trainable]
    for layer in found:
        layer._share = share
    try:
        yield
    finally:
        for layer in found:
            layer._share = None
