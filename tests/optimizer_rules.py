"""What optimizers do, twice over: by their definitions in NumPy, and by TensorFlow's kernels, which TF1 called.

A definition takes the optimizer's parameters, the first weights (float64), and gradients with rates; it
gives the weights after each step.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ssdcore.params import Adadelta, Adagrad, Adam, AdamW, Ftrl, RMSprop, Sgd

Array = Any
Steps = Sequence[tuple[Array, float]]


def sgd(p: Any, w: Array, steps: Steps) -> Iterator[Array]:
    """Sutskever et al. 2013, equations 1 to 4, with the weights at the point that was looked ahead to."""
    v = np.zeros_like(w)
    for g, rate in steps:
        before, v = v, p.momentum * v - rate * g
        w = w - p.momentum * before + (1 + p.momentum) * v if p.nesterov else w + v
        yield w


def adam(p: Any, w: Array, steps: Steps) -> Iterator[Array]:
    """Kingma and Ba 2015, the last paragraph of section 2: with epsilon hat."""
    m = v = np.zeros_like(w)
    for t, (g, rate) in enumerate(steps, start=1):
        m = p.beta_1 * m + (1 - p.beta_1) * g
        v = p.beta_2 * v + (1 - p.beta_2) * g**2
        correction = math.sqrt(1 - p.beta_2**t) / (1 - p.beta_1**t)
        w = w - rate * correction * m / (np.sqrt(v) + p.epsilon)
        yield w


def rmsprop(p: Any, w: Array, steps: Steps) -> Iterator[Array]:
    """Tieleman and Hinton 2012 with momentum; centered: Graves 2013, equations 38 to 41."""
    square = mean = moved = np.zeros_like(w)
    for g, rate in steps:
        square = p.rho * square + (1 - p.rho) * g**2
        mean = p.rho * mean + (1 - p.rho) * g
        moved = p.momentum * moved + rate * g / np.sqrt(square - p.centered * mean**2 + p.epsilon)
        w = w - moved
        yield w


def adagrad(p: Any, w: Array, steps: Steps) -> Iterator[Array]:
    """Duchi et al. 2011, diagonal."""
    total = np.full_like(w, p.initial_accumulator)
    for g, rate in steps:
        total = total + g**2
        w = w - rate * g / np.sqrt(total + p.epsilon)
        yield w


def adadelta(p: Any, w: Array, steps: Steps) -> Iterator[Array]:
    """Zeiler 2012, algorithm 1, times a rate."""
    of_gradients = of_steps = np.zeros_like(w)
    for g, rate in steps:
        of_gradients = p.rho * of_gradients + (1 - p.rho) * g**2
        step = np.sqrt((of_steps + p.epsilon) / (of_gradients + p.epsilon)) * g
        of_steps = p.rho * of_steps + (1 - p.rho) * step**2
        w = w - rate * step
        yield w


def ftrl(p: Any, w: Array, steps: Steps) -> Iterator[Array]:
    """McMahan et al. 2013, algorithm 1, with beta 0, another power, and twice l2 as TF1 has it."""
    z, n = np.zeros_like(w), np.full_like(w, p.initial_accumulator)
    power = -p.learning_rate_power
    for g, rate in steps:
        z = z + g - ((n + g**2) ** power - n**power) / rate * w
        n = n + g**2
        w = np.where(np.abs(z) <= p.l1, 0, (np.sign(z) * p.l1 - z) / (n**power / rate + 2 * p.l2))
        yield w


DEFINITIONS = {Sgd: sgd, Adam: adam, AdamW: adam, RMSprop: rmsprop, Adagrad: adagrad, Adadelta: adadelta, Ftrl: ftrl}


class Kernel:
    """TensorFlow's kernel of an optimizer, with its slots, for one variable.

    Adagrad's has no epsilon; that of momentum is the one with the rate inside the momentum.
    """

    def __init__(self, p: Any, shape: Sequence[int]) -> None:
        self.p = p
        self.slots = [tf.Variable(tf.zeros(shape)) for _ in range(3)]
        if isinstance(p, Adagrad | Ftrl):
            self.slots[0].assign(tf.fill(shape, p.initial_accumulator))
        self.apply = APPLY[type(p)]

    def step(self, variable: Any, gradient: Array, rate: float, number: int) -> None:
        """Step `number`, from 1."""
        common = {"var": variable.handle, "lr": rate, "grad": gradient}
        self.apply(self.p, [slot.handle for slot in self.slots], common, number)


Apply = Callable[[Any, list[Any], dict[str, Any], int], None]


def apply_sgd(p: Any, slots: list[Any], common: dict[str, Any], number: int) -> None:
    tf.raw_ops.ResourceApplyKerasMomentum(accum=slots[0], momentum=p.momentum, use_nesterov=p.nesterov, **common)


def apply_adam(p: Any, slots: list[Any], common: dict[str, Any], number: int) -> None:
    powers = {"beta1_power": p.beta_1**number, "beta2_power": p.beta_2**number}
    betas = {"beta1": p.beta_1, "beta2": p.beta_2, "epsilon": p.epsilon}
    tf.raw_ops.ResourceApplyAdam(m=slots[0], v=slots[1], **powers, **betas, **common)


def apply_rmsprop(p: Any, slots: list[Any], common: dict[str, Any], number: int) -> None:
    numbers = {"rho": p.rho, "momentum": p.momentum, "epsilon": p.epsilon}
    if p.centered:
        tf.raw_ops.ResourceApplyCenteredRMSProp(ms=slots[0], mom=slots[1], mg=slots[2], **numbers, **common)
    else:
        tf.raw_ops.ResourceApplyRMSProp(ms=slots[0], mom=slots[1], **numbers, **common)


def apply_adagrad(p: Any, slots: list[Any], common: dict[str, Any], number: int) -> None:
    tf.raw_ops.ResourceApplyAdagrad(accum=slots[0], **common)


def apply_adadelta(p: Any, slots: list[Any], common: dict[str, Any], number: int) -> None:
    tf.raw_ops.ResourceApplyAdadelta(accum=slots[0], accum_update=slots[1], rho=p.rho, epsilon=p.epsilon, **common)


def apply_ftrl(p: Any, slots: list[Any], common: dict[str, Any], number: int) -> None:
    tf.raw_ops.ResourceApplyFtrl(
        accum=slots[0], linear=slots[1], l1=p.l1, l2=p.l2, lr_power=p.learning_rate_power, **common
    )


APPLY: dict[type, Apply] = {
    Sgd: apply_sgd,
    Adam: apply_adam,
    AdamW: apply_adam,
    RMSprop: apply_rmsprop,
    Adagrad: apply_adagrad,
    Adadelta: apply_adadelta,
    Ftrl: apply_ftrl,
}
