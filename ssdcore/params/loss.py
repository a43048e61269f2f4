"""Parameters of the loss."""

from pydantic import Field

from ssdcore.params.base import Params


class Loss(Params):
    """The MultiBox loss (paper, section 2.2)."""

    match_iou: float = Field(0.5, gt=0, le=1, description="least IoU of a default box and an object to match")
    negative_ratio: float = Field(3.0, ge=0, description="hardest negatives kept per positive, in each image")
    box_weight: float = Field(1.0, ge=0, description="weight of the box loss against the class loss")
