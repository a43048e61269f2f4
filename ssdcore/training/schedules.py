"""Learning rates from parameters."""

import math
from collections.abc import Callable

import tensorflow as tf

from ssdcore.params import Cosine, Exponential, Multistep, Polynomial, Schedule
from ssdcore.types import Tensor


def make_schedule(params: Schedule, total_steps: int, steps_per_epoch: float) -> Callable[[Tensor], Tensor]:
    """The learning rate at each step of a stage.

    The schedule counts from the stage's first step; during the warm-up, its rate is multiplied by the
    warm-up's fraction. The interval of decays is rounded down to whole steps, as TF-slim did.

    Args:
        params: the schedule.
        total_steps: length of the stage.
        steps_per_epoch: images of the training split by images of a batch, not rounded.

    Returns:
        A function from the step, 0 to total_steps - 1 (scalar of any number type), to the rate (scalar float32).
    """

    @tf.autograph.experimental.do_not_convert  # it cannot read a match statement, and there is nothing to convert
    def rate_at(step: Tensor) -> Tensor:
        step = tf.cast(step, tf.float64)
        rate = params.learning_rate * _fraction(params, step, total_steps, steps_per_epoch)
        if params.warmup_steps:
            start = params.warmup_start
            rate *= tf.minimum(start + (1 - start) * step / params.warmup_steps, 1.0)
        return tf.cast(rate, tf.float32)

    return rate_at


def _fraction(params: Schedule, step: Tensor, total_steps: int, steps_per_epoch: float) -> Tensor:
    """The factor on the initial rate (scalar float64)."""
    match params:
        case Exponential():
            decays = step / _whole_steps(params.epochs, steps_per_epoch)
            return params.factor ** (tf.floor(decays) if params.staircase else decays)
        case Polynomial():
            length = total_steps if params.epochs is None else _whole_steps(params.epochs, steps_per_epoch)
            left = 1 - tf.minimum(step / length, 1.0)
            return params.end + (1 - params.end) * left**params.power
        case Multistep():
            milestones = [round(fraction * total_steps) for fraction in params.milestones]
            return params.factor ** tf.reduce_sum(tf.cast(step >= tf.constant(milestones, tf.float64), tf.float64))
        case Cosine():
            fallen = (1 + tf.cos(math.pi * tf.minimum(step / total_steps, 1.0))) / 2
            return params.end + (1 - params.end) * fallen
    return tf.ones([], tf.float64)


def _whole_steps(epochs: float, steps_per_epoch: float) -> int:
    return max(1, int(steps_per_epoch * epochs))
