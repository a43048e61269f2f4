"""Parameters of turning predictions into detections, and of scoring them."""

from typing import Literal

from pydantic import Field

from ssdcore.params.base import Params


class EvalParams(Params):
    """Post-processing and mean average precision. Defaults are the paper's evaluation."""

    score_threshold: float = Field(0.01, ge=0, lt=1, description="a detection must score above this")
    top_k: int = Field(400, ge=1, description="best boxes of each class that reach suppression")
    nms_iou: float = Field(0.45, gt=0, le=1, description="of two boxes of a class overlapping more, one goes")
    keep: int = Field(200, ge=1, description="detections kept per image, over all classes")
    match_iou: float = Field(
        0.5, gt=0, le=1, description="least IoU of a detection and an object to count; not by COCO's metric"
    )
    inclusive_pixels: bool = Field(
        False, description="boxes reach to the end of their last pixel, as the VOC devkit counts; not by COCO's metric"
    )
    metric: Literal["voc07", "voc12", "coco"] = Field(
        "voc07", description="mean of precision at 11 recalls, area under the curve, or COCO's AP at IoU .50 to .95"
    )
    batch_size: int = Field(16, ge=1, description="images per forward pass")
