"""Layers of Keras Applications with stable variable names and reproducible randomness."""

import zlib
from typing import Any

import keras
import tensorflow as tf


class LayerScale(keras.layers.Layer):
    """A learned scale per channel of (B, H, W, C) maps (arXiv:2103.17239).

    The variable name of Keras' own layer depends on how many were built before.
    """

    def __init__(self, init_values: float, projection_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_values, self.projection_dim = init_values, projection_dim

    def build(self, input_shape: Any) -> None:
        start = keras.initializers.Constant(self.init_values)
        self.gamma = self.add_weight(shape=(self.projection_dim,), initializer=start, name="gamma")

    def call(self, inputs: Any) -> Any:
        return inputs * self.gamma


class StochasticDepth(keras.layers.Layer):
    """Zeroes a fraction `rate` of the maps (B, H, W, C) of a batch in training, and scales up the others.

    Frozen (`trainable = False`) it does nothing. Keras' own layer has a random state, which weights files do not
    hold; here the maps are the seed, so that a resumed training continues identically.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if not (training and self.trainable):
            return inputs
        bits = tf.bitcast(tf.reduce_sum(tf.cast(inputs, tf.float32)), tf.int32)
        seed = tf.stack([bits, zlib.crc32(self.name.encode()) >> 1])
        draws = tf.random.stateless_uniform((tf.shape(inputs)[0], 1, 1, 1), seed)
        factors = tf.where(draws < self.rate, 0.0, 1 / (1 - self.rate))
        return inputs * tf.cast(factors, inputs.dtype)
