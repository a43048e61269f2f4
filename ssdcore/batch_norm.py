"""Batch normalisation in one fused TensorFlow kernel.

Keras 3 builds it from a dozen elementwise operations, which take more than a third of a MobileNet
training step on a CPU. Variables, moving averages and results are those of Keras' layer, except
that the moving variance takes in the unbiased batch variance, as TF-slim's did.
"""

from typing import Any

import keras
import tensorflow as tf

Tensor = Any


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the channels of (B, H, W, C) or (B, C, H, W) maps.

    Frozen (`trainable = False`) it uses its moving statistics even while training.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        learning = bool(training) and self.trainable
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.ones_like(self.moving_mean) if self.gamma is None else self.gamma,
            tf.zeros_like(self.moving_mean) if self.beta is None else self.beta,
            None if learning else self.moving_mean,
            None if learning else self.moving_variance,
            epsilon=self.epsilon,
            data_format="NCHW" if self.axis == 1 else "NHWC",
            is_training=learning,
        )
        if learning:
            self._follow(self.moving_mean, mean)
            self._follow(self.moving_variance, variance)
        return outputs

    def _follow(self, average: Any, value: Tensor) -> None:
        """Moves an average towards this batch's value, the mean over all replicas where there are several."""
        replicas = tf.distribute.get_replica_context()
        if replicas is not None and replicas.num_replicas_in_sync > 1:
            value = replicas.all_reduce(tf.distribute.ReduceOp.MEAN, value)
        average.assign(average * self.momentum + value * (1.0 - self.momentum))
