"""Parameters of the network: SSD blocks, heads and default boxes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssdcore.params.base import Params

Pixels = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=1, le=4096)]
Factor = Annotated[float, Field(gt=0)]


class Preprocessing(Params):
    """How pixel values become network input: `(value - mean) * scale`, in the stated channel order."""

    channel_order: Literal["rgb", "bgr"] = Field(
        "rgb", description="order in which the base net wants the channels; images arrive as RGB"
    )
    mean: tuple[float, float, float] = Field(
        (0.0, 0.0, 0.0), description="subtracted from each channel, 0..255, in channel_order"
    )
    scale: Factor | tuple[Factor, Factor, Factor] = Field(
        1.0, description="multiplied after the subtraction; or one for each channel, in channel_order"
    )


class Conv(Params):
    """One convolution of an SSD block."""

    filters: int = Field(ge=1, description="output channels")
    kernel: int = Field(1, ge=1, le=11, description="side of the square kernel, px")
    stride: int = Field(1, ge=1, le=4, description="step of the kernel, px")
    dilation: int = Field(1, ge=1, description="distance of the kernel's taps, px (atrous convolution)")
    padding: int = Field(0, ge=0, description="zeros added on every side, px, as in Caffe")
    separable: bool = Field(
        False, description="a depthwise convolution of this kernel and stride, then 1x1 to the filters, as SSDLite's"
    )

    @model_validator(mode="after")
    def _separable_is_not_atrous(self) -> Self:
        if self.separable and self.dilation > 1:
            raise ValueError(
                f"a separable convolution has no dilation, got {self.dilation}; set separable=false or dilation=1"
            )
        return self


class BlockNorm(Params):
    """Batch normalisation behind the convolutions of the SSD blocks."""

    epsilon: float = Field(1e-3, gt=0, description="added to the variance")
    scale: bool = Field(True, description="learn a factor per channel")


class Block(Params):
    """Convolutions between two prediction layers; the last one's output is a prediction layer."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="name of the block and of its layers")
    convs: tuple[Conv, ...] = Field(min_length=1, description="its convolutions, first to last")


class DefaultBoxes(Params):
    """Default boxes (priors, anchors), one entry per prediction layer, finest first."""

    min_sizes: tuple[Pixels, ...] = Field(min_length=1, description="side of the small square box, px")
    max_sizes: tuple[Pixels | None, ...] = Field(
        description="the large square box has side sqrt(min * max), px; null: no such box"
    )
    aspect_ratios: tuple[tuple[float, ...], ...] = Field(
        description="width : height of the other boxes; each ratio is also used inverted"
    )
    steps: tuple[Pixels, ...] | None = Field(
        None, description="distance of box centres, px; null: image size / map size"
    )
    offset: float = Field(0.5, ge=0, le=1, description="first centre, in steps from the image's edge")
    clip: bool = Field(False, description="cut boxes at the image's edges")
    truncate_sizes: bool = Field(False, description="round sizes down to whole px as Caffe's PriorBox does")

    @model_validator(mode="after")
    def _same_number_of_layers(self) -> Self:
        wanted = len(self.min_sizes)
        for key in ("max_sizes", "aspect_ratios", "steps"):
            values = getattr(self, key)
            if values is not None and len(values) != wanted:
                raise ValueError(f"{key} has {len(values)} entries, min_sizes has {wanted}")
        if any(ratio <= 0 for ratios in self.aspect_ratios for ratio in ratios):
            raise ValueError("aspect_ratios must be above 0")
        return self

    def boxes_per_cell(self) -> tuple[int, ...]:
        """Number of default boxes at each cell of each prediction layer."""
        return tuple(
            1 + (large is not None) + 2 * len(ratios)
            for large, ratios in zip(self.max_sizes, self.aspect_ratios, strict=True)
        )


class ModelParams(Params):
    """An SSD model, apart from its backbone."""

    name: str = Field(description="the SSD model, by which a plugin chooses its feature layers")
    image_size: tuple[Side, Side] = Field(description="network input, height and width, px")
    preprocessing: Preprocessing | None = Field(
        None, description="what pixel values become; null: as the backbone wants them"
    )
    feature_maps: tuple[Side, ...] | None = Field(
        None, description="side the prediction layers must have, finest first, cells; null: accept any"
    )
    feature_layers: tuple[str, ...] | None = Field(
        None, description="end points that feed the first prediction layers; null: as the plugin says"
    )
    blocks: tuple[Block, ...] = Field(
        description="SSD blocks behind the base net; a backbone that feeds several prediction layers "
        "itself makes the first ones unnecessary"
    )
    block_norm: BlockNorm | None = Field(
        None, description="batch normalisation in the SSD blocks; null: none, with biases instead"
    )
    norm_momentum: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of the old moving statistics that batch normalisation keeps at each step, in the "
        "backbone and the SSD blocks; null: as the backbone has it",
    )
    l2_norm_scale: float | None = Field(
        None, gt=0, description="start of the factor behind L2-normalising the first source; null: no such layer"
    )
    head: Literal["conv3x3", "conv1x1", "separable"] = Field(
        "conv3x3", description="convolutions that predict; separable is SSDLite's"
    )
    default_boxes: DefaultBoxes = Field(description="the boxes that predictions refer to")
    variances: tuple[Pixels, Pixels, Pixels, Pixels] = Field(
        (0.1, 0.1, 0.2, 0.2), description="offsets (cx, cy, w, h) are divided by these"
    )
    weight_decay: float = Field(5e-4, ge=0, description="L2 on convolution kernels: decay / 2 * sum(w²)")

    @model_validator(mode="after")
    def _same_number_of_sources(self) -> Self:
        wanted = len(self.default_boxes.min_sizes)
        if self.feature_maps is not None and len(self.feature_maps) != wanted:
            raise ValueError(f"feature_maps has {len(self.feature_maps)} entries, default_boxes has {wanted} layers")
        return self
