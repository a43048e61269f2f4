"""Parameters of post-processing and evaluation."""

from typing import Literal

from pydantic import Field

from ssdcore.params.base import Params


class EvalParams(Params):
    """Post-processing and mean average precision. Defaults are the paper's evaluation."""

    score_threshold: float = Field(0.01, ge=0, lt=1, description="minimum score of a detection, exclusive")
    top_k: int = Field(400, ge=1, description="highest-scoring boxes of each class that enter NMS")
    nms_iou: float = Field(0.45, gt=0, le=1, description="IoU above which NMS drops the lower-scoring box of a class")
    keep: int = Field(200, ge=1, description="maximum detections per image, over all classes")
    match_iou: float = Field(0.5, gt=0, le=1, description="minimum IoU of a true positive; COCO's metric uses its own")
    inclusive_pixels: bool = Field(
        False, description="box sides include the last pixel, as in the VOC devkit; ignored by COCO's metric"
    )
    metric: Literal["voc07", "voc12", "coco"] = Field(
        "voc07",
        description="voc07: AP at 11 recalls, voc12: area under the curve, coco: mean AP over IoU .50 to .95",
    )
    batch_size: int = Field(16, ge=1, description="images per forward pass")
