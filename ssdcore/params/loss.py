"""Parameters of the loss."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ssdcore.params.base import Params


class Focal(Params):
    """Softmax focal loss over all default boxes (Lin et al., arXiv:1708.02002)."""

    alpha: float = Field(0.25, gt=0, lt=1, description="weight of positives; negatives have 1 - alpha")
    gamma: float = Field(2.0, ge=0, description="focusing parameter; 0 gives plain cross-entropy")


class Loss(Params):
    """The MultiBox loss (paper, section 2.2)."""

    match_iou: float = Field(0.5, gt=0, le=1, description="minimum IoU to match a default box to a ground-truth box")
    mining: Literal["image", "batch"] = Field(
        "image",
        description="scope of hard-negative mining; image: each image for its own positives, batch: all images of a "
        "device's batch",
    )
    negative_ratio: float = Field(3.0, ge=0, description="hard negatives per positive")
    min_negatives: int = Field(
        0,
        ge=0,
        description="minimum hard negatives per image, so that images without objects contribute; with mining=batch, "
        "times the number of images",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="fraction of the class target spread evenly over background and all classes"
    )
    focal: Focal | None = Field(
        None,
        description="focal loss over all default boxes; {}: the paper's values, null: hard-negative mining instead",
    )
    box_weight: float = Field(1.0, ge=0, description="weight of the box loss relative to the class loss")

    @model_validator(mode="after")
    def _focal_alone(self) -> Self:
        others = ("mining", "negative_ratio", "min_negatives", "label_smoothing")
        changed = [name for name in others if getattr(self, name) != type(self).model_fields[name].default]
        if self.focal is not None and changed:
            raise ValueError(
                f"the focal loss uses all default boxes with hard labels and ignores {' and '.join(changed)}; "
                "leave these at their defaults or set focal to null"
            )
        return self
