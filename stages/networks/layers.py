"""Layers that compute what Keras' own do, in fewer passes over memory."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="traincore")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation in TensorFlow's fused kernel; statistics are float32 in every precision.

    Input and output have shape (n, h, w, c).
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Normalise by the batch in training, by the moving averages otherwise."""
        learning = bool(training) and self.trainable
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=tf.constant([], tf.float32) if learning else self.moving_mean.value,
            variance=tf.constant([], tf.float32) if learning else self.moving_variance.value,
            epsilon=self.epsilon,
            is_training=learning,
        )
        if learning:
            values = tf.size(inputs) / tf.shape(inputs)[-1]
            # The kernel returns the sample's variance; Keras averages the population's.
            population = variance * tf.cast((values - 1) / values, tf.float32)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, population)
        return outputs

    def _move(self, average: keras.Variable, value: tf.Tensor) -> None:
        average.value.assign_sub((average.value - value) * (1 - self.momentum))


@keras.saving.register_keras_serializable(package="traincore")
class Dropout(keras.layers.Layer):
    """Dropout that draws one random byte an element, where Keras draws a float.

    Parameters
    ----------
    rate : float
        Share of elements set to zero in training, rounded to a multiple of 1/256.
    """

    def __init__(self, rate: float, **options: object) -> None:
        super().__init__(**options)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Drop elements in training, and scale the others up to keep the mean."""
        dropped = round(self.rate * 256)
        if not training or dropped == 0:
            return inputs
        seed = tf.cast(self.seed_generator.next(), tf.int64)
        words = tf.random.stateless_uniform([tf.size(inputs) // 8 + 1], seed, None, None, tf.uint64)
        draws = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[: tf.size(inputs)]
        kept = tf.cast(tf.reshape(draws, tf.shape(inputs)) >= tf.cast(dropped, tf.uint8), inputs.dtype)
        return inputs * kept * tf.cast(256 / (256 - dropped), inputs.dtype)

    def get_config(self) -> dict[str, object]:
        """What the layer is made from."""
        return {**super().get_config(), "rate": self.rate}
