"""Parameters of optimizers."""

from typing import Annotated, Literal

from pydantic import Field

from ssdcore.params.base import Params

Beta = Annotated[float, Field(ge=0, lt=1)]


class Sgd(Params):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = Field("sgd", description="which optimizer")
    momentum: Beta = Field(0.9, description="share of the last update that is kept")
    nesterov: bool = Field(False, description="look ahead along the momentum")


class Adam(Params):
    """Adam. The TF1 seeds ran it with epsilon 1, which makes it behave like slow momentum."""

    kind: Literal["adam"] = Field("adam", description="which optimizer")
    beta_1: Beta = Field(0.9, description="decay of the mean of gradients")
    beta_2: Beta = Field(0.999, description="decay of the mean of squared gradients")
    epsilon: float = Field(1e-7, gt=0, description="added to the root of the mean of squared gradients")


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = Field("adamw", description="which optimizer")  # type: ignore[assignment]
    weight_decay: float = Field(1e-4, ge=0, description="share of a kernel taken away at rate 1")


Optimizer = Annotated[Sgd | Adam | AdamW, Field(discriminator="kind")]
