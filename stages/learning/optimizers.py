"""Optimizers that compute what Keras' own do, in one kernel a variable."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="traincore")  # to be cloned
class Adam(keras.optimizers.Adam):
    """Keras' Adam (Kingma & Ba, 2015) through TensorFlow's fused kernel; its state is Keras' own."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Move one variable and its two moments."""
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),  # the same for every variable: TensorFlow computes it once
            beta2_power=tf.pow(self.beta_2, step),
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
