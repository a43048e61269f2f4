"""Optimizers from parameters, and the update of all weights with a learning rate for each."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ssdcore.params import Adadelta, Adagrad, Adam, Ftrl, Optimizer, RMSprop, Sgd, Stage
from ssdcore.training.schedules import make_schedule
from ssdcore.types import Tensor

Variable = Any


def make_optimizer(params: Optimizer) -> Any:
    """The Keras optimizer of a stage.

    Use its `update_step` only, which takes the rate: the optimizer has neither a rate of its own nor weight
    decay. `Update` does both.
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


class Update:
    """Applies gradients to variables: one optimizer, a rate for each variable, decoupled decay.

    Make it in the scope of the strategy that the variables belong to. Gradients come in the order of
    `variables`.

    Args:
        stage: its optimizer, schedule and factors on the rate.
        variables: the trainable ones (float32), by the names of `ssdcore.model.variables.named_variables`.
        total_steps: length of the stage.
        steps_per_epoch: images of the training split by images of a batch, not rounded.
        rate_scale: factor on all rates.

    Attributes:
        optimizer: the Keras optimizer; its `iterations` counts the steps.
    """

    def __init__(
        self,
        stage: Stage,
        variables: Mapping[str, Variable],
        total_steps: int,
        steps_per_epoch: float,
        rate_scale: float = 1.0,
    ) -> None:
        self._rate = make_schedule(stage.learning_rate, total_steps, steps_per_epoch)
        self._rate_scale = rate_scale
        self.variables = list(variables.values())
        self._factors = [rate_factor(stage, name) for name in variables]
        decay = 0.0 if isinstance(stage.optimizer, Ftrl) else stage.optimizer.weight_decay
        self._decays = [decay if _is_decayed(name, variable) else 0.0 for name, variable in variables.items()]
        self._divides_by_rate = isinstance(stage.optimizer, Ftrl)
        self.optimizer = make_optimizer(stage.optimizer)
        self.optimizer.build(self.variables)

    @property
    def state(self) -> list[Variable]:
        """The step counter and the optimizer's slots, always in the same order."""
        return self.optimizer.variables

    def apply(self, gradients: Sequence[Tensor], finite: Tensor) -> Tensor:
        """Takes a step, in replica context.

        Args:
            gradients: of each variable, in their order; sums over all replicas.
            finite: scalar bool, the same on all replicas: whether the gradients are finite. If not, the
                step is counted, and weights and slots stay as they are.

        Returns:
            The learning rate of this step (scalar float32), before the factors of variables.
        """
        rate = self._rate(self.optimizer.iterations) * self._rate_scale
        # A warm-up may start at rate 0, where nothing moves anyway.
        moves = finite & (rate > 0) if self._divides_by_rate else finite
        tf.cond(moves, lambda: self._move(gradients, rate), lambda: False)
        self.optimizer.iterations.assign_add(1)
        return rate

    def _move(self, gradients: Sequence[Tensor], rate: Tensor) -> bool:
        """Updates weights and slots of this replica; Keras' `apply` would sum the gradients once more."""
        parts = zip(gradients, self.variables, self._factors, self._decays, strict=True)
        for gradient, variable, factor, decay in parts:
            if not factor:  # stays where it is
                continue
            own_rate = rate * factor
            if decay:
                variable.assign_sub(variable * (decay * own_rate))
            self.optimizer.update_step(gradient, variable, own_rate)
        return True


def rate_factor(stage: Stage, name: str) -> float:
    """What the rate of the variable of this name is multiplied by."""
    scopes = [scope for scope in stage.rate_factors if name.startswith(scope)]
    factor = stage.rate_factors[max(scopes, key=len)] if scopes else 1.0
    return factor * stage.bias_rate_factor if name.rpartition("/")[2] == "bias" else factor


def _is_decayed(name: str, variable: Variable) -> bool:
    """Whether weight decay acts on a variable: on what `ssdcore.contract.arg_scope` lets L2 act on.

    These are the kernels of convolutions (h, w, inputs, filters), without depthwise ones (h, w, inputs, 1).
    """
    return name.rpartition("/")[2] == "kernel" and len(variable.shape) == 4 and variable.shape[-1] > 1
