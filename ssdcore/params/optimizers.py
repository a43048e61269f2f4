"""Parameters of optimizers.

The update rules are Keras'. Where TensorFlow 1's or Caffe's differ from them, the class says so.
"""

from typing import Annotated, Literal

from pydantic import Field

from ssdcore.params.base import Params

Decay = Annotated[float, Field(ge=0, lt=1)]


class Decaying(Params):
    """Fields of optimizers that support weight decay."""

    weight_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decoupled weight decay per step at a learning rate of 1; not for biases, depthwise kernels and "
        "normalisation",
    )


class Sgd(Decaying):
    """Stochastic gradient descent with momentum.

    The momentum accumulates rate times gradient, as in Caffe. TF1's MomentumOptimizer multiplies the accumulated
    gradient by the current rate instead, which differs only when the rate changes.
    """

    kind: Literal["sgd"] = Field("sgd", description="optimizer")
    momentum: Decay = Field(0.9, description="momentum; 0: plain gradient descent")
    nesterov: bool = Field(False, description="Nesterov momentum")


class Adam(Decaying):
    """Adam. The TF1 seeds ran it with epsilon 1, which makes it behave like slow momentum.

    As in TF1, epsilon is added before bias correction (the paper's "epsilon hat").
    """

    kind: Literal["adam"] = Field("adam", description="optimizer")
    beta_1: Decay = Field(0.9, description="decay of the running mean of gradients")
    beta_2: Decay = Field(0.999, description="decay of the running mean of squared gradients")
    epsilon: float = Field(1e-7, gt=0, description="added to the square root of the mean of squared gradients")


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = Field("adamw", description="optimizer")  # type: ignore[assignment]
    weight_decay: float = Field(1e-4, ge=0, lt=1, description=Decaying.model_fields["weight_decay"].description)


class RMSprop(Decaying):
    """RMSprop with momentum. The TF1 seeds ran it with epsilon 1.

    The mean of squares starts at 0; TF1's started at 1, which makes the first steps smaller.
    """

    kind: Literal["rmsprop"] = Field("rmsprop", description="optimizer")
    rho: Decay = Field(0.9, description="decay of the running mean of squared gradients")
    momentum: Decay = Field(0.9, description="momentum")
    epsilon: float = Field(1e-7, gt=0, description="added to the mean of squared gradients, inside the square root")
    centered: bool = Field(
        False, description="normalise by the standard deviation of gradients instead of their root mean square"
    )


class Adagrad(Decaying):
    """Adagrad. With epsilon 0 it is TF1's."""

    kind: Literal["adagrad"] = Field("adagrad", description="optimizer")
    initial_accumulator: float = Field(0.1, gt=0, description="initial sum of squared gradients")
    epsilon: float = Field(1e-7, ge=0, description="added to the sum of squared gradients, inside the square root")


class Adadelta(Decaying):
    """Adadelta, as in TF1. The paper uses a learning rate of 1. The TF1 seeds ran it with epsilon 1."""

    kind: Literal["adadelta"] = Field("adadelta", description="optimizer")
    rho: Decay = Field(0.95, description="decay of the running means of squared gradients and squared updates")
    epsilon: float = Field(1e-7, gt=0, description="added to both means, inside the square roots")


class Ftrl(Params):
    """Follow the regularised leader, as in TF1; made for linear models.

    It recomputes the weights at each step from sums over all gradients, so that the initial weights count little:
    not for fine-tuning. A falling rate shrinks the weights. It has its own L2 instead of weight decay.
    """

    kind: Literal["ftrl"] = Field("ftrl", description="optimizer")
    learning_rate_power: float = Field(
        -0.5, ge=-1, le=0, description="exponent of the sum of squared gradients in the step size; 0: no effect"
    )
    initial_accumulator: float = Field(0.1, gt=0, description="initial sum of squared gradients")
    l1: float = Field(0.0, ge=0, description="L1 regularisation of all weights; makes many of them zero")
    l2: float = Field(0.0, ge=0, description="L2 regularisation of all weights")


Optimizer = Annotated[Sgd | Adam | AdamW | RMSprop | Adagrad | Adadelta | Ftrl, Field(discriminator="kind")]
