"""Batch normalisation in one fused TensorFlow kernel.

Keras 3 builds it from a dozen elementwise operations, which take more than a third of a MobileNet
training step on a CPU. Variables, moving averages and results are those of Keras' layer, except
that the moving variance takes in the unbiased batch variance, as TF-slim's did.
"""

from typing import Any

import keras
import tensorflow as tf

from ssdcore.types import Tensor


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the channels of (B, H, W, C) or (B, C, H, W) maps.

    The maps may be float32, bfloat16 or float16 and keep their type; statistics and variables are
    float32. Frozen (`trainable = False`) the layer uses its moving statistics even while training.
    With `synchronized` a layer that is trained on several replicas normalises by the mean and variance
    of all their maps together; without, each by those of its own.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        training_now = bool(training) and self.trainable
        if training_now and self.synchronized and _replicas() > 1:
            return self._call_together(inputs)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.ones_like(self.moving_mean) if self.gamma is None else self.gamma,
            tf.zeros_like(self.moving_mean) if self.beta is None else self.beta,
            None if training_now else self.moving_mean,
            None if training_now else self.moving_variance,
            epsilon=self.epsilon,
            data_format="NCHW" if self.axis == 1 else "NHWC",
            is_training=training_now,
        )
        if training_now:
            self._follow(self.moving_mean, _mean_over_replicas(mean))
            self._follow(self.moving_variance, _mean_over_replicas(variance))
        return outputs

    def _call_together(self, inputs: Tensor) -> Tensor:
        """Normalises by the statistics of all replicas, through which gradients flow."""
        values = tf.cast(inputs, tf.float32)
        mean, variance, count = _moments_of_all(values, self._reduction_axes)
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance * count / tf.maximum(count - 1.0, 1.0))
        factor = tf.math.rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            factor *= self.gamma
        shift = -mean * factor
        if self.beta is not None:
            shift += self.beta
        if self.axis == 1:
            factor, shift = factor[:, None, None], shift[:, None, None]
        return tf.cast(values * factor + shift, inputs.dtype)

    def _follow(self, average: Any, value: Tensor) -> None:
        """Updates a moving average with this batch's value."""
        average.assign(average * self.momentum + value * (1.0 - self.momentum))


def _replicas() -> int:
    """Replicas that run this code side by side."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def _mean_over_replicas(value: Tensor) -> Tensor:
    if _replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, value)


def _moments_of_all(values: Tensor, axes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,) and biased variance (C,) of the float32 maps of all replicas, and how many values went into each.

    Every replica puts its own moments into a row of its own; the sum over replicas is the table of
    all, in one collective. The variance then comes from differences of means, which loses fewer
    digits than a difference of squares.
    """
    context = tf.distribute.get_replica_context()
    mean, variance = tf.nn.moments(values, axes)
    count = tf.reduce_prod(tf.gather(tf.shape(values), axes))
    row = tf.concat([mean, variance, [tf.cast(count, tf.float32)]], axis=0)
    own = tf.one_hot(context.replica_id_in_sync_group, context.num_replicas_in_sync)
    table = context.all_reduce(tf.distribute.ReduceOp.SUM, own[:, None] * row)
    means, variances, counts = tf.split(table, [*mean.shape, *mean.shape, 1], axis=1)
    total = tf.reduce_sum(counts)
    fractions = counts / total
    mean = tf.reduce_sum(fractions * means, axis=0)
    variance = tf.reduce_sum(fractions * (variances + tf.square(means - mean)), axis=0)
    return mean, variance, total
