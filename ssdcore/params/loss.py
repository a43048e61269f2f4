"""Parameters of the loss."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ssdcore.params.base import Params


class Focal(Params):
    """The focal loss over all default boxes (Lin et al., arXiv:1708.02002), of a softmax."""

    alpha: float = Field(0.25, gt=0, lt=1, description="weight of objects; background has 1 - alpha")
    gamma: float = Field(2.0, ge=0, description="how much less counts what is right already; 0: all count alike")


class Loss(Params):
    """The MultiBox loss (paper, section 2.2)."""

    match_iou: float = Field(0.5, gt=0, le=1, description="least IoU of a default box and an object to match")
    mining: Literal["image", "batch"] = Field(
        "image",
        description="where the hardest negatives are looked for: in each image for its own positives, or in all "
        "images together that a device goes through at once",
    )
    negative_ratio: float = Field(3.0, ge=0, description="hardest negatives kept per positive")
    min_negatives: int = Field(
        0,
        ge=0,
        description="hardest negatives kept per image even if its positives ask for fewer, so that images "
        "without objects teach too; with mining=batch times the number of images",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the class targets that is spread evenly over background and classes"
    )
    focal: Focal | None = Field(
        None,
        description="focal loss of all default boxes in place of mined negatives, {} with the paper's numbers; "
        "null: mining",
    )
    box_weight: float = Field(1.0, ge=0, description="weight of the box loss against the class loss")

    @model_validator(mode="after")
    def _focal_alone(self) -> Self:
        others = ("mining", "negative_ratio", "min_negatives", "label_smoothing")
        changed = [name for name in others if getattr(self, name) != type(self).model_fields[name].default]
        if self.focal is not None and changed:
            raise ValueError(
                f"the focal loss takes all default boxes, with hard labels, so {' and '.join(changed)} would do "
                "nothing; leave these at their defaults or set focal to null"
            )
        return self
