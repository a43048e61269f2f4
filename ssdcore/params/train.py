"""Parameters of training: loss, stages, optimizers and learning rates."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ssdcore.params.base import Params

Beta = Annotated[float, Field(ge=0, lt=1)]


class Loss(Params):
    """The MultiBox loss (paper, section 2.2)."""

    match_iou: float = Field(0.5, gt=0, le=1, description="least IoU of a default box and an object to match")
    negative_ratio: float = Field(3.0, ge=0, description="hardest negatives kept per positive, in each image")
    box_weight: float = Field(1.0, ge=0, description="weight of the box loss against the class loss")


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


class Stage(Params):
    """A part of training with its own trainable layers, length, optimizer and rate."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="name in logs and checkpoints")
    trainable: Literal["ssd", "all"] | tuple[str, ...] = Field(
        "all",
        description="what learns: the SSD layers, everything, or layers whose names start so; the backbone's "
        "layers are named backbone/layer",
    )
    epochs: float | None = Field(None, gt=0, description="length in passes over the training split")
    steps: int | None = Field(None, ge=1, description="length in batches; give this or epochs")
    batch_size: int = Field(32, ge=1, description="pictures per step, over all devices")
    optimizer: Optimizer = Field(Sgd(), description="update rule")
    learning_rate: LearningRate = Field(Fixed(), description="schedule, over this stage's steps")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self


WeightsFormat = Literal[
    "auto",
    "caffe",
    "keras-applications",
    "modular-ssd-tensorflow",
    "ssd-tensorflow",
    "ssd-tensorflow-voc",
    "ssdcore",
    "tf-slim",
]


class Weights(Params):
    """Weights to start from. A path alone stands for `{file: path}`."""

    file: str | None = Field(None, description="weights file of any of the formats; null: random weights")
    format: WeightsFormat = Field("auto", description="whose file it is; auto: found out from its contents")
    include: tuple[str, ...] | None = Field(
        None, description="load only variables whose names start so (backbone/layer, block, layer); null: all"
    )
    exclude: tuple[str, ...] = Field((), description="leave out variables whose names start so")
    classes: tuple[str, ...] | None = Field(
        None,
        description="the classes of the file's detector, without background; null: as the file, or their "
        "number, says (20: Pascal VOC, 80: COCO)",
    )
    partial: bool = Field(False, description="accept a file that does not fill the whole backbone")

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"file": value} if value is None or isinstance(value, str) else value


class TrainParams(Params):
    """How a model learns."""

    stages: tuple[Stage, ...] = Field(min_length=1, description="run one after the other")
    weights: Weights = Field(Weights(), description="weights to start from")
    loss: Loss = Field(Loss(), description="matching, mining and weights of the loss")
    clip_norm: float | None = Field(10.0, gt=0, description="largest norm of the whole gradient; null: no limit")
    seed: int = Field(0, ge=0, lt=2**31 - 1, description="of weights, shuffling and augmentation")
    log_every: int = Field(20, ge=1, description="steps averaged in each row of metrics.csv")
    eval_every: int = Field(10, ge=0, description="epochs between evaluations; 0: none while training")
    save_minutes: float = Field(
        5.0, ge=0, description="minutes between checkpoints; evaluations and stage ends write one anyway"
    )

    @model_validator(mode="after")
    def _unique_stages(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages must have different names, got {', '.join(names)}")
        return self
