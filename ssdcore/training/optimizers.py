"""Optimizers from parameters."""

from typing import Any

import keras

from ssdcore.params import Adadelta, Adagrad, Adam, Ftrl, Optimizer, RMSprop, Sgd


def make_optimizer(params: Optimizer) -> Any:
    """The Keras optimizer of a stage.

    It is for `update_step` alone, which is given the rate: the optimizer has none of its own, and does
    not decay weights. `ssdcore.training.update` does both.
    """
    match params:
        case Adam():  # or AdamW: the decay is done elsewhere
            return keras.optimizers.Adam(_no_rate, params.beta_1, params.beta_2, params.epsilon)
        case Sgd():
            return keras.optimizers.SGD(_no_rate, params.momentum, params.nesterov)
        case RMSprop():
            return keras.optimizers.RMSprop(_no_rate, params.rho, params.momentum, params.epsilon, params.centered)
        case Adagrad():
            return keras.optimizers.Adagrad(_no_rate, params.initial_accumulator, params.epsilon)
        case Adadelta():
            return keras.optimizers.Adadelta(_no_rate, params.rho, params.epsilon)
        case Ftrl():
            return keras.optimizers.Ftrl(
                _no_rate, params.learning_rate_power, params.initial_accumulator, params.l1, params.l2
            )


def _no_rate() -> float:
    """A function, since Keras would make a variable of a number and keep it among the slots."""
    return 0.0
