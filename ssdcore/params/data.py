"""Parameters of image loading and augmentation."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ssdcore.params.base import Params


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if not 0 < low <= high:
        raise ValueError(f"must be two bounds with 0 < low <= high, got {low}, {high}")
    return bounds


Fraction = Annotated[float, Field(ge=0, le=1)]
Bounds = Annotated[tuple[float, float], AfterValidator(_in_order)]
Resize = Literal["warp", "pad", "central_crop"]
Treatment = Literal["train", "ignore", "drop"]
"""`train`: as positives; `ignore`: neither positives nor negatives; `drop`: as background."""

Interpolation = Literal["bilinear", "nearest", "bicubic", "area", "lanczos3"]


class DataParams(Params):
    """Splits, resizing and loading."""

    train_split: str | None = Field(None, description="training split; null: trainval, else train")
    eval_split: str | None = Field(
        None, description="evaluation split; null: val if the training split is train, else test"
    )
    resize: Resize = Field(
        "warp",
        description="resizing to the network input; warp: ignores the aspect ratio, pad: keeps it and pads, "
        "central_crop: crops or pads around the centre without scaling",
    )
    difficult: Treatment = Field("train", description="use of objects marked difficult in training")
    crowd: Treatment = Field("ignore", description="use of objects marked as crowd or group in training")
    parallel_calls: int = Field(
        0, ge=0, description="images loaded and augmented in parallel; 0: chosen by the number of CPUs"
    )
    max_undecodable: int = Field(10, ge=0, description="undecodable images that training skips before it stops")


class Photometric(Params):
    """Photometric distortions, each applied with `probability` (defaults of the paper's Caffe code)."""

    probability: Fraction = Field(0.5, description="probability of each distortion")
    brightness: float = Field(32.0, ge=0, le=255, description="maximum change of all channels, ±, on the scale 0..255")
    contrast: Bounds = Field((0.5, 1.5), description="range of the factor on all channels")
    saturation: Bounds = Field((0.5, 1.5), description="range of the factor on saturation")
    hue: float = Field(36.0, ge=0, le=180, description="maximum change of hue, ±, degrees")


class Expand(Params):
    """Zoom out: places the image at random on a larger canvas of the mean colour."""

    probability: Fraction = Field(0.5, description="probability of expanding")
    max_ratio: float = Field(4.0, ge=1, le=16, description="maximum side of the canvas, in image sides")


class PatchCrop(Params):
    """Zoom in: a random window with a minimum IoU with some object, sampled as in the paper.

    Objects whose centre is inside the window are kept.
    """

    kind: Literal["patch"] = Field("patch", description="cropping method")
    min_ious: tuple[Fraction, ...] = Field(
        (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
        description="minimum IoU of the window with some object, one sampler each; the whole image is one more option",
    )
    scale: Bounds = Field((0.3, 1.0), description="range of sqrt(window area / image area)")
    aspect_ratio: Bounds = Field((0.5, 2.0), description="range of window width / height")
    trials: int = Field(50, ge=1, le=1000, description="maximum windows tried per sampler")


class CoverageCrop(Params):
    """Zoom in as the TensorFlow 1 projects did: a random window that covers a minimum of some object.

    Objects with more than `min_visible` of their area inside the window are kept.
    """

    kind: Literal["coverage"] = Field("coverage", description="cropping method")
    min_covered: Fraction = Field(0.25, description="minimum fraction of some object's area inside the window")
    min_visible: Fraction = Field(
        0.5, description="fraction of an object's area inside the window above which it is kept"
    )
    area: Bounds = Field((0.1, 1.0), description="range of window area / image area")
    aspect_ratio: Bounds = Field((0.6, 1.67), description="range of window width / height, px")
    trials: int = Field(200, ge=1, le=1000, description="windows tried before falling back to the whole image")


def _patch_by_default(crop: Any) -> Any:
    return {"kind": "patch", **crop} if isinstance(crop, dict) else crop


Crop = Annotated[PatchCrop | CoverageCrop, Field(discriminator="kind"), BeforeValidator(_patch_by_default)]


class AugmentParams(Params):
    """Augmentation of training images; null turns a step off."""

    photometric: Photometric | None = Field(Photometric(), description="photometric distortions")
    expand: Expand | None = Field(Expand(), description="zoom out")
    crop: Crop | None = Field(PatchCrop(), description="zoom in")
    horizontal_flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    quarter_turn: Fraction = Field(0.0, description="probability of a 90° counter-clockwise rotation")
    vertical_flip: Fraction = Field(0.0, description="probability of a vertical flip")
    interpolations: tuple[Interpolation, ...] = Field(
        ("bilinear", "area", "nearest", "bicubic", "lanczos3"),
        min_length=1,
        description="interpolation when resizing to the network input, chosen at random for each image",
    )
