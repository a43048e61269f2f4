"""Parameters of learning rates."""

from typing import Annotated, Literal

from pydantic import Field

from ssdcore.params.base import Params


class Schedule(Params):
    """Fields of all learning-rate schedules."""

    learning_rate: float = Field(1e-3, gt=0, description="learning rate after warm-up")
    warmup_steps: int = Field(0, ge=0, description="steps of linear warm-up")
    warmup_start: float = Field(0.1, ge=0, le=1, description="initial warm-up rate, as a fraction of learning_rate")


class Fixed(Schedule):
    """A constant rate."""

    kind: Literal["fixed"] = Field("fixed", description="schedule")


class Exponential(Schedule):
    """Multiplies the rate by `factor` every `epochs` epochs."""

    kind: Literal["exponential"] = Field("exponential", description="schedule")
    factor: float = Field(0.94, gt=0, le=1, description="factor on the rate")
    epochs: float = Field(2.0, gt=0, description="epochs per multiplication")
    staircase: bool = Field(True, description="decay in steps; false: continuously")


class Polynomial(Schedule):
    """Polynomial decay; power 1 is linear."""

    kind: Literal["polynomial"] = Field("polynomial", description="schedule")
    end: float = Field(0.01, ge=0, le=1, description="final rate, as a fraction of learning_rate")
    power: float = Field(1.0, gt=0, description="exponent of the remaining fraction of the schedule")
    epochs: float | None = Field(None, gt=0, description="length of the decay, epochs; null: the whole stage")


class Multistep(Schedule):
    """Multiplies the rate by `factor` at each milestone."""

    kind: Literal["multistep"] = Field("multistep", description="schedule")
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (2 / 3, 5 / 6), description="fractions of the stage's length"
    )
    factor: float = Field(0.1, gt=0, lt=1, description="factor on the rate")


class Cosine(Schedule):
    """Cosine decay."""

    kind: Literal["cosine"] = Field("cosine", description="schedule")
    end: float = Field(0.0, ge=0, le=1, description="final rate, as a fraction of learning_rate")


LearningRate = Annotated[Fixed | Exponential | Polynomial | Multistep | Cosine, Field(discriminator="kind")]
