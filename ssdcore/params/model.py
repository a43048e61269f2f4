"""Parameters of the network: SSD blocks, heads and default boxes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssdcore.params.base import Params

Pixels = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=1, le=4096)]
Factor = Annotated[float, Field(gt=0)]


class Preprocessing(Params):
    """Pixel values to network input: `(value - mean) * scale`, in the given channel order."""

    channel_order: Literal["rgb", "bgr"] = Field(
        "rgb", description="channel order of the base net's input; images are RGB"
    )
    mean: tuple[float, float, float] = Field(
        (0.0, 0.0, 0.0), description="subtracted from each channel, on the scale 0..255, in channel_order"
    )
    scale: Factor | tuple[Factor, Factor, Factor] = Field(
        1.0, description="factor after the subtraction, one or one per channel, in channel_order"
    )


class Conv(Params):
    """One convolution of an SSD block."""

    filters: int = Field(ge=1, description="output channels")
    kernel: int = Field(1, ge=1, le=11, description="kernel size, cells")
    stride: int = Field(1, ge=1, le=4, description="stride, cells")
    dilation: int = Field(1, ge=1, description="dilation (atrous convolution), cells")
    padding: int = Field(0, ge=0, description="zero padding on every side, cells, as in Caffe")
    separable: bool = Field(
        False, description="depthwise separable: depthwise with this kernel and stride, then 1x1, as in SSDLite"
    )

    @model_validator(mode="after")
    def _separable_is_not_atrous(self) -> Self:
        if self.separable and self.dilation > 1:
            raise ValueError(
                f"a separable convolution has no dilation, got {self.dilation}; set separable=false or dilation=1"
            )
        return self


class BlockNorm(Params):
    """Batch normalisation after the convolutions of the SSD blocks."""

    epsilon: float = Field(1e-3, gt=0, description="added to the variance")
    scale: bool = Field(True, description="learn a scale per channel")


class Block(Params):
    """Convolutions between two prediction layers; the output of the last one is a prediction layer."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="name of the block and of its layers")
    convs: tuple[Conv, ...] = Field(min_length=1, description="convolutions, in order")


class DefaultBoxes(Params):
    """Default boxes (priors, anchors), one entry per prediction layer, finest first."""

    min_sizes: tuple[Pixels, ...] = Field(min_length=1, description="side of the smaller square box, px")
    max_sizes: tuple[Pixels | None, ...] = Field(
        description="the larger square box has side sqrt(min * max), px; null: no such box"
    )
    aspect_ratios: tuple[tuple[float, ...], ...] = Field(
        description="width / height of the other boxes; each ratio is also used inverted"
    )
    steps: tuple[Pixels, ...] | None = Field(
        None, description="distance between box centres, px; null: image size / map size"
    )
    offset: float = Field(0.5, ge=0, le=1, description="first centre, in steps from the edge of the image")
    clip: bool = Field(False, description="clip boxes to the image")
    truncate_sizes: bool = Field(False, description="truncate sizes to whole px, as Caffe's PriorBox does")

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
    """An SSD model without its backbone."""

    name: str = Field(description="name of the SSD model; plugins choose feature layers by it")
    image_size: tuple[Side, Side] = Field(description="network input: height and width, px")
    preprocessing: Preprocessing | None = Field(None, description="preprocessing of pixel values; null: the backbone's")
    feature_maps: tuple[Side, ...] | None = Field(
        None, description="required side of each prediction layer, finest first, cells; null: any"
    )
    feature_layers: tuple[str, ...] | None = Field(
        None, description="end points used as the first prediction layers; null: the plugin's choice"
    )
    blocks: tuple[Block, ...] = Field(
        description="SSD blocks after the base net; the last ones are used, as many as there are prediction layers "
        "without a feature layer of the backbone"
    )
    block_norm: BlockNorm | None = Field(
        None, description="batch normalisation in the SSD blocks; null: biases instead"
    )
    norm_momentum: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="momentum of batch normalisation's moving statistics, in backbone and SSD blocks; null: the "
        "backbone's",
    )
    l2_norm_scale: float | None = Field(
        None,
        gt=0,
        description="initial scale of the L2 normalisation of the first prediction layer; null: no normalisation",
    )
    head: Literal["conv3x3", "conv1x1", "separable"] = Field(
        "conv3x3", description="prediction heads; separable: as in SSDLite"
    )
    default_boxes: DefaultBoxes = Field(description="default boxes")
    variances: tuple[Pixels, Pixels, Pixels, Pixels] = Field(
        (0.1, 0.1, 0.2, 0.2), description="divisors of the encoded offsets (cx, cy, w, h)"
    )
    weight_decay: float = Field(5e-4, ge=0, description="L2 regularisation of convolution kernels: decay / 2 * sum(w²)")

    @model_validator(mode="after")
    def _one_size_per_prediction_layer(self) -> Self:
        wanted = len(self.default_boxes.min_sizes)
        if self.feature_maps is not None and len(self.feature_maps) != wanted:
            raise ValueError(f"feature_maps has {len(self.feature_maps)} entries, default_boxes has {wanted} layers")
        return self
