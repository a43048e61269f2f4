"""Parameters of optimizers.

The update rules are Keras'. Where TensorFlow 1's or Caffe's differ from them, the class says so.
"""

from typing import Annotated, Literal

from pydantic import Field

from ssdcore.params.base import Params

Share = Annotated[float, Field(ge=0, lt=1)]


class Decaying(Params):
    """What the optimizers share that add a step to the weights."""

    weight_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of a kernel taken away at rate 1 at each step, apart from the loss; "
        "never of biases, of depthwise kernels or of what normalisation learns",
    )


class Sgd(Decaying):
    """Stochastic gradient descent with momentum.

    The rate is inside the momentum, as in Caffe. TF1's MomentumOptimizer multiplies the momentum by the
    present rate instead, which is the same as long as the rate stays the same.
    """

    kind: Literal["sgd"] = Field("sgd", description="which optimizer")
    momentum: Share = Field(0.9, description="share of the last update that is kept; 0: plain gradient descent")
    nesterov: bool = Field(False, description="look ahead along the momentum")


class Adam(Decaying):
    """Adam. The TF1 seeds ran it with epsilon 1, which makes it behave like slow momentum.

    As in TF1, epsilon is added before the means are corrected for their start (the paper's "epsilon hat").
    """

    kind: Literal["adam"] = Field("adam", description="which optimizer")
    beta_1: Share = Field(0.9, description="decay of the mean of gradients")
    beta_2: Share = Field(0.999, description="decay of the mean of squared gradients")
    epsilon: float = Field(1e-7, gt=0, description="added to the root of the mean of squared gradients")


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = Field("adamw", description="which optimizer")  # type: ignore[assignment]
    weight_decay: float = Field(1e-4, ge=0, lt=1, description=Decaying.model_fields["weight_decay"].description)


class RMSprop(Decaying):
    """RMSprop with momentum. The TF1 seeds ran it with epsilon 1.

    The mean of squares starts at 0; TF1's started at 1, which made the first steps smaller.
    """

    kind: Literal["rmsprop"] = Field("rmsprop", description="which optimizer")
    rho: Share = Field(0.9, description="decay of the mean of squared gradients")
    momentum: Share = Field(0.9, description="share of the last update that is kept")
    epsilon: float = Field(1e-7, gt=0, description="added to the mean of squared gradients, inside the root")
    centered: bool = Field(False, description="divide by the deviation of gradients, not by their size")


class Adagrad(Decaying):
    """Adagrad. With epsilon 0 it is TF1's."""

    kind: Literal["adagrad"] = Field("adagrad", description="which optimizer")
    initial_accumulator: float = Field(0.1, gt=0, description="what the sum of squared gradients starts at")
    epsilon: float = Field(1e-7, ge=0, description="added to the sum of squared gradients, inside the root")


class Adadelta(Decaying):
    """Adadelta, as in TF1. It finds its own steps: the paper's rate is 1. The TF1 seeds ran it with epsilon 1."""

    kind: Literal["adadelta"] = Field("adadelta", description="which optimizer")
    rho: Share = Field(0.95, description="decay of the means of squared gradients and of squared steps")
    epsilon: float = Field(1e-7, gt=0, description="added to both means, inside the roots")


class Ftrl(Params):
    """Follow the regularised leader, as in TF1; made for linear models.

    It works the weights out anew at each step, out of sums over all gradients, where the weights that
    training starts from count little: not for fine-tuning. A rate that falls shrinks the weights with it.
    Nothing can be taken off weights that are made so: it has an L2 of its own, and no weight decay.
    """

    kind: Literal["ftrl"] = Field("ftrl", description="which optimizer")
    learning_rate_power: float = Field(
        -0.5, ge=-1, le=0, description="power by which steps shrink with the sum of squared gradients; 0: not at all"
    )
    initial_accumulator: float = Field(0.1, gt=0, description="what the sum of squared gradients starts at")
    l1: float = Field(0.0, ge=0, description="L1 regularisation of all weights; makes many of them 0")
    l2: float = Field(0.0, ge=0, description="L2 regularisation of all weights")


Optimizer = Annotated[Sgd | Adam | AdamW | RMSprop | Adagrad | Adadelta | Ftrl, Field(discriminator="kind")]
