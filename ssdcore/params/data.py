"""Parameters of reading and augmenting images."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ssdcore.params.base import Params


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if not 0 < low <= high:
        raise ValueError(f"must be two bounds with 0 < low <= high, got {low}, {high}")
    return bounds


Share = Annotated[float, Field(ge=0, le=1)]
Bounds = Annotated[tuple[float, float], AfterValidator(_in_order)]
Resize = Literal["warp", "pad", "central_crop"]
Treatment = Literal["train", "ignore", "drop"]
"""`train`: as any object; `ignore`: neither objects nor background; `drop`: background."""

Interpolation = Literal["bilinear", "nearest", "bicubic", "area", "lanczos3"]


class DataParams(Params):
    """Which images are used, and how they are read."""

    train_split: str | None = Field(None, description="split to learn from; null: trainval, else train")
    eval_split: str | None = Field(None, description="split that is evaluated; null: beside train val, else test")
    resize: Resize = Field(
        "warp",
        description="how an image becomes the network input; warp: stretched, pad: shrunk as a whole and padded, "
        "central_crop: cut or padded around its centre at its own scale",
    )
    difficult: Treatment = Field("train", description="what to do with objects marked difficult, while training")
    crowd: Treatment = Field("ignore", description="what to do with groups marked as one object, while training")
    parallel_calls: int = Field(0, ge=0, description="images prepared at once; 0: as the machine allows")
    max_undecodable: int = Field(
        10, ge=0, description="undecodable images that are left out while training before the run stops"
    )


class Photometric(Params):
    """Colour distortions, each applied with `probability` (facts of the paper's Caffe chain)."""

    probability: Share = Field(0.5, description="of each distortion")
    brightness: float = Field(32.0, ge=0, le=255, description="added to all channels: up to ±this, of 255")
    contrast: Bounds = Field((0.5, 1.5), description="bounds of the factor on all channels")
    saturation: Bounds = Field((0.5, 1.5), description="bounds of the factor on saturation")
    hue: float = Field(36.0, ge=0, le=180, description="added to the hue: up to ±this, degrees")


class Expand(Params):
    """Zoom out: the image is put somewhere on a larger canvas of the mean colour."""

    probability: Share = Field(0.5, description="of expanding")
    max_ratio: float = Field(4.0, ge=1, le=16, description="largest canvas side, in image sides")


class PatchCrop(Params):
    """Zoom in: a random window that overlaps an object enough, chosen as the paper's samplers do.

    Objects whose centre is in the window stay.
    """

    kind: Literal["patch"] = Field("patch", description="which way of cropping")
    min_ious: tuple[Share, ...] = Field(
        (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
        description="one sampler each: IoU of window and some object; the whole image is a further choice",
    )
    scale: Bounds = Field((0.3, 1.0), description="bounds of sqrt(window area / image area)")
    aspect_ratio: Bounds = Field((0.5, 2.0), description="bounds of window width : height")
    trials: int = Field(50, ge=1, le=1000, description="windows tried per sampler")


class CoverageCrop(Params):
    """Zoom in as the TensorFlow 1 projects did: a random window that covers enough of some object.

    Objects of which more than `min_visible` is in the window stay.
    """

    kind: Literal["coverage"] = Field("coverage", description="which way of cropping")
    min_covered: Share = Field(0.25, description="share of some object that the window must cover")
    min_visible: Share = Field(0.5, description="share of an object that must be exceeded for it to stay")
    area: Bounds = Field((0.1, 1.0), description="bounds of window area / image area")
    aspect_ratio: Bounds = Field((0.6, 1.67), description="bounds of window width : height, in px")
    trials: int = Field(200, ge=1, le=1000, description="windows tried before the whole image is taken")


def _patch_by_default(crop: Any) -> Any:
    return {"kind": "patch", **crop} if isinstance(crop, dict) else crop


Crop = Annotated[PatchCrop | CoverageCrop, Field(discriminator="kind"), BeforeValidator(_patch_by_default)]


class AugmentParams(Params):
    """Random changes of the training images; null leaves one out."""

    photometric: Photometric | None = Field(Photometric(), description="colour distortions")
    expand: Expand | None = Field(Expand(), description="zoom out")
    crop: Crop | None = Field(PatchCrop(), description="zoom in")
    horizontal_flip: Share = Field(0.5, description="probability of mirroring left and right")
    quarter_turn: Share = Field(0.0, description="probability of turning by 90° against the clock")
    vertical_flip: Share = Field(0.0, description="probability of mirroring top and bottom")
    interpolations: tuple[Interpolation, ...] = Field(
        ("bilinear", "area", "nearest", "bicubic", "lanczos3"),
        min_length=1,
        description="ways of resizing to the network input, one chosen at random for each image",
    )
