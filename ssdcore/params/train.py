"""Parameters of training: stages, weights to start from, and what a run keeps."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ssdcore.params.base import Params
from ssdcore.params.loss import Loss
from ssdcore.params.optimizers import Optimizer, Sgd
from ssdcore.params.schedules import Fixed, LearningRate

Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Trainable = Literal["ssd", "all"] | Annotated[int, Field(ge=0)] | tuple[str, ...]


class Stage(Params):
    """A part of training with its own trainable layers, length, optimizer and rate."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="name in logs and checkpoints")
    trainable: Trainable = Field(
        "all",
        description="what learns: the SSD layers, everything, the SSD layers and so many last convolutions of the "
        "backbone, or layers whose names start so; the backbone's layers are named backbone/layer",
    )
    freeze_batch_norm: bool = Field(
        False, description="batch normalisation keeps its statistics, factors and offsets as they are"
    )
    epochs: float | None = Field(None, gt=0, description="length in passes over the training split")
    steps: int | None = Field(None, ge=1, description="length in batches; give this or epochs")
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        32,
        description="images per step, over all devices; auto: the most that memory holds, up to 64 for each "
        "device, and learning_rate is then meant for 32 and scaled",
    )
    accumulate: int = Field(
        1, ge=1, description="parts in which a batch is gone through, to save memory; the step is that of the whole"
    )
    optimizer: Optimizer = Field(Sgd(), description="update rule")
    learning_rate: LearningRate = Field(Fixed(), description="schedule, over this stage's steps")
    rate_factors: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="factors on the rate of layers whose names start so (the longest start counts)"
    )
    bias_rate_factor: float = Field(1.0, ge=0, description="factor on the rate of biases; the Caffe recipes have 2")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        if self.batch_size == "auto" and self.accumulate > 1:
            raise ValueError("give a batch_size to go through in parts; auto finds what memory holds as a whole")
        if self.batch_size != "auto" and self.batch_size % self.accumulate:
            raise ValueError(f"a batch of {self.batch_size} cannot be gone through in {self.accumulate} equal parts")
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
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of the averaged weights kept at each step; they are what is scored; null: no average",
    )
    precision: Precision = Field(
        "auto", description="of the arithmetic; auto: bfloat16 or float16 where the device gains by it"
    )
    sync_batch_norm: bool = Field(True, description="batch statistics are those of all devices together")
    deterministic: bool = Field(False, description="the same bits in every run, for some speed on GPUs")
    seed: int = Field(0, ge=0, lt=2**31 - 1, description="of weights, shuffling and augmentation")
    log_every: int = Field(20, ge=1, description="steps averaged in each row of metrics.csv")
    eval_every: int = Field(10, ge=0, description="epochs between evaluations; 0: none while training")
    monitor: Literal["map", "loss"] = Field(
        "map", description="what the best checkpoint is best at: mAP, or the loss on the evaluated split"
    )
    early_stop: int | None = Field(
        None, ge=1, description="evaluations without a better one after which a stage ends; null: never"
    )
    save_minutes: float = Field(
        5.0, ge=0, description="minutes between checkpoints; evaluations and stage ends write one anyway"
    )
    keep: int = Field(3, ge=2, description="latest checkpoints that are kept")
    images: int = Field(
        0, ge=0, description="images of each augmentation stage shown in TensorBoard when a stage begins"
    )
    histograms: bool = Field(False, description="show the weights' distribution in TensorBoard at each evaluation")

    @model_validator(mode="after")
    def _unique_stages(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages must have different names, got {', '.join(names)}")
        return self
