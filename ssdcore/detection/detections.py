"""What was found in one image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import SsdError

if TYPE_CHECKING:
    import supervision


class Detection(NamedTuple):
    """One detected object: class name, score in [0, 1], xyxy box in pixels of the image."""

    name: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Detections:
    """The detections in one image, best first.

    Attributes:
        boxes: (N, 4) float32 xyxy, px of the original image.
        scores: (N,) float32 in [0, 1].
        labels: (N,) int32 class ids, 1..C.
        classes: names of classes 1..C.

    Raises:
        ValueError: the shapes do not belong together, or a label has no name.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if self.boxes.shape != (n, 4) or self.scores.shape != (n,) or self.labels.shape != (n,):
            shapes = f"{self.boxes.shape}, {self.scores.shape}, {self.labels.shape}"
            raise ValueError(f"boxes, scores and labels must be (N, 4), (N,), (N,); got {shapes}")
        if n and not 1 <= self.labels.min() <= self.labels.max() <= len(self.classes):
            raise ValueError(f"labels must be 1 to {len(self.classes)}; got {self.labels.min()} to {self.labels.max()}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, label in zip(self.boxes.tolist(), self.scores.tolist(), self.labels, strict=True):
            yield Detection(self.classes[label - 1], score, tuple(box))

    def above(self, score: "float | NDArray[np.floating]") -> "Detections":
        """Only the detections that score above a threshold, or each above one of its own, (N,)."""
        kept = self.scores > score
        return Detections(self.boxes[kept], self.scores[kept], self.labels[kept], self.classes)

    def as_dicts(self) -> list[dict[str, Any]]:
        """Plain values for JSON: `class`, `label`, `score`, `box` (xyxy, px)."""
        return [
            {
                "class": item.name,
                "label": int(label),
                "score": round(item.score, 4),
                "box": [round(side, 2) for side in item.box],
            }
            for item, label in zip(self, self.labels, strict=True)
        ]

    def to_supervision(self) -> "supervision.Detections":
        """The same for the library `supervision`, which draws, tracks and counts.

        `xyxy` are the boxes (px), `confidence` the scores, `class_id` the labels 1..C as everywhere here, and
        `data["class_name"]` the names, (N,) of text.

        Raises:
            SsdError: `supervision` is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise SsdError("to_supervision needs the package supervision: pip install supervision") from None
        names = np.array([self.classes[label - 1] for label in self.labels], dtype=str)
        return supervision.Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.labels.astype(int),
            data={"class_name": names},
        )
