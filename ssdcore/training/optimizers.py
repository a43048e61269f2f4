"""Optimizers and learning-rate schedules from parameters."""

import math
from typing import Any

import keras
import tensorflow as tf

from ssdcore.params import Adam, AdamW, Cosine, Multistep, Schedule, Sgd, Stage

Tensor = Any

# Kernels decay; biases and the factors and offsets of normalisation do not.
_NOT_DECAYED = ["bias", "gamma", "beta"]


def make_optimizer(stage: Stage, total_steps: int) -> Any:
    """The Keras optimizer of a stage; its rate follows the stage's schedule by itself."""
    rate = LearningRate(stage.learning_rate, total_steps)
    match stage.optimizer:
        case AdamW() as adamw:
            optimizer = keras.optimizers.AdamW(rate, adamw.weight_decay, adamw.beta_1, adamw.beta_2, adamw.epsilon)
            optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
            return optimizer
        case Adam() as adam:
            return keras.optimizers.Adam(rate, adam.beta_1, adam.beta_2, adam.epsilon)
        case Sgd() as sgd:
            return keras.optimizers.SGD(rate, sgd.momentum, sgd.nesterov)


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at each step of a stage: a linear warm-up, then the schedule."""

    def __init__(self, schedule: Schedule, total_steps: int) -> None:
        super().__init__()
        self.schedule = schedule
        self.total_steps = total_steps

    def __call__(self, step: Tensor) -> Tensor:
        """The rate (scalar float32) at step 0, 1, ..., total_steps - 1."""
        step = tf.cast(step, tf.float32)
        rate = self.schedule.learning_rate * self._factor(step)
        if not self.schedule.warmup_steps:
            return rate
        progress = step / self.schedule.warmup_steps
        start = self.schedule.warmup_start
        return rate * tf.minimum(1.0, start + (1 - start) * progress)

    def _factor(self, step: Tensor) -> Tensor:
        """What the schedule multiplies the base rate with."""
        match self.schedule:
            case Multistep() as multistep:
                milestones = [round(share * self.total_steps) for share in multistep.milestones]
                passed = tf.reduce_sum(tf.cast(step >= tf.constant(milestones, tf.float32), tf.float32))
                return multistep.factor**passed
            case Cosine() as cosine:
                fallen = (1 + tf.cos(math.pi * tf.minimum(step / self.total_steps, 1.0))) / 2
                return cosine.end + (1 - cosine.end) * fallen
        return tf.ones([])
