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


class Exponential(Schedule):
    """The rate is multiplied by `factor` every so many epochs."""

    kind: Literal["exponential"] = Field("exponential", description="which schedule")
    factor: float = Field(0.94, gt=0, le=1, description="by which the rate is multiplied")
    epochs: float = Field(2.0, gt=0, description="passes over the training split in which that happens once")
    staircase: bool = Field(True, description="fall at once at the end of that time; false: little by little")


class Polynomial(Schedule):
    """The rate falls along a power of the time that is left; power 1 is a straight line."""

    kind: Literal["polynomial"] = Field("polynomial", description="which schedule")
    end: float = Field(0.01, ge=0, le=1, description="last rate, as a share of learning_rate")
    power: float = Field(1.0, gt=0, description="of the share of time that is left")
    epochs: float | None = Field(
        None, gt=0, description="passes over the training split in which it falls; null: the whole stage"
    )


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


LearningRate = Annotated[Fixed | Exponential | Polynomial | Multistep | Cosine, Field(discriminator="kind")]
