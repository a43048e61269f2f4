"""Parameters of learning rates."""

from typing import Annotated, Literal

from pydantic import Field

from ssdcore.params.base import Params


class Schedule(Params):
    """What all learning-rate schedules share."""

    learning_rate: float = Field(1e-3, gt=0, description="rate after the warm-up")
    warmup_steps: int = Field(0, ge=0, description="steps in which the rate rises linearly to learning_rate")
    warmup_start: float = Field(0.1, ge=0, le=1, description="first rate, as a share of learning_rate")


class Fixed(Schedule):
    """The same rate all the time."""

    kind: Literal["fixed"] = Field("fixed", description="which schedule")


class Multistep(Schedule):
    """The rate is multiplied by `factor` at each milestone."""

    kind: Literal["multistep"] = Field("multistep", description="which schedule")
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (2 / 3, 5 / 6), description="when, as shares of the stage's length"
    )
    factor: float = Field(0.1, gt=0, lt=1, description="by which the rate is multiplied")


class Cosine(Schedule):
    """The rate falls along half a cosine."""

    kind: Literal["cosine"] = Field("cosine", description="which schedule")
    end: float = Field(0.0, ge=0, le=1, description="last rate, as a share of learning_rate")


LearningRate = Annotated[Fixed | Multistep | Cosine, Field(discriminator="kind")]
