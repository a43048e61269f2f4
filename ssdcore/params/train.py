"""Parameters of training: stages, initial weights, checkpoints and logs."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ssdcore.params.base import Params
from ssdcore.params.loss import Loss
from ssdcore.params.optimizers import Optimizer, Sgd
from ssdcore.params.schedules import Fixed, LearningRate

Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Trainable = Literal["ssd", "all"] | Annotated[int, Field(ge=0)] | tuple[str, ...]


class Stage(Params):
    """One stage of training: trainable layers, length, optimizer and learning rate."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="name in logs and checkpoints")
    trainable: Trainable = Field(
        "all",
        description="trainable layers; ssd; all; N: SSD layers plus the last N backbone convolutions; or "
        "prefixes of layer names (backbone/layer for those of the backbone)",
    )
    freeze_batch_norm: bool = Field(False, description="keep statistics, scale and offset of batch normalisation fixed")
    epochs: float | None = Field(None, gt=0, description="length in epochs; give this or steps")
    steps: int | None = Field(None, ge=1, description="length in steps; give this or epochs")
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        32,
        description="images per step over all devices; auto: the largest that fits into memory, at most 64 per device; "
        "learning_rate is then given for 32 and scaled",
    )
    accumulate: int = Field(
        1, ge=1, description="micro-batches per step whose gradients are accumulated, to save memory"
    )
    optimizer: Optimizer = Field(Sgd(), description="optimizer")
    learning_rate: LearningRate = Field(Fixed(), description="learning-rate schedule over the stage")
    rate_factors: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="layer-name prefix -> factor on the learning rate; the longest matching prefix applies"
    )
    bias_rate_factor: float = Field(
        1.0, ge=0, description="factor on the learning rate of biases; 2 in Caffe's recipes"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        if self.batch_size == "auto" and self.accumulate > 1:
            raise ValueError("accumulate needs a batch_size in numbers; auto finds what fits into memory at once")
        if self.batch_size != "auto" and self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be divided into {self.accumulate} equal micro-batches"
            )
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
    """Initial weights. A path alone stands for `{file: path}`."""

    file: str | None = Field(None, description="weights file or checkpoint; null: random weights")
    format: WeightsFormat = Field("auto", description="format of the file; auto: detected from its contents")
    include: tuple[str, ...] | None = Field(
        None, description="prefixes of variables to load (backbone/layer, block, layer); null: all"
    )
    exclude: tuple[str, ...] = Field((), description="prefixes of variables not to load")
    classes: tuple[str, ...] | None = Field(
        None,
        description="class names of the file's detector, without background; null: from the file, or by their number "
        "(20: Pascal VOC, 80: COCO)",
    )
    partial: bool = Field(False, description="accept a file that lacks some of the backbone's variables")

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"file": value} if value is None or isinstance(value, str) else value


class TrainParams(Params):
    """Training of a model."""

    stages: tuple[Stage, ...] = Field(min_length=1, description="stages, in order")
    weights: Weights = Field(Weights(), description="initial weights")
    loss: Loss = Field(Loss(), description="loss: matching, mining and weights")
    clip_norm: float | None = Field(10.0, gt=0, description="maximum global norm of the gradient; null: no clipping")
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of the exponential moving average of weights, which is then evaluated; null: no average",
    )
    precision: Precision = Field(
        "auto", description="compute precision; auto: mixed bfloat16 or float16 where the device is faster with it"
    )
    sync_batch_norm: bool = Field(True, description="synchronise batch statistics over all devices")
    deterministic: bool = Field(False, description="bitwise reproducible training; slower on GPUs")
    seed: int = Field(0, ge=0, lt=2**31 - 1, description="random seed of weights, shuffling and augmentation")
    log_every: int = Field(20, ge=1, description="steps per row of metrics.csv, averaged")
    eval_every: int = Field(10, ge=0, description="epochs between evaluations; 0: no evaluation during training")
    monitor: Literal["map", "loss"] = Field(
        "map", description="metric of the best checkpoint: mAP, or the validation loss"
    )
    early_stop: int | None = Field(
        None, ge=1, description="evaluations without improvement after which a stage ends; null: never"
    )
    save_minutes: float = Field(
        5.0, ge=0, description="minutes between checkpoints, besides those at evaluations and stage ends"
    )
    keep: int = Field(3, ge=2, description="number of latest checkpoints to keep")
    augmentation_images: int = Field(
        0, ge=0, description="training images whose augmentation is shown in TensorBoard at the start of each stage"
    )
    histograms: bool = Field(False, description="write histograms of the weights to TensorBoard at each evaluation")

    @model_validator(mode="after")
    def _unique_stages(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages must have different names, got {', '.join(names)}")
        return self
