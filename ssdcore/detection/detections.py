"""The detections in one image; no TensorFlow."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import SsdError

if TYPE_CHECKING:
    import supervision

    from ssdcore.model.postprocess import DetectionBatch


class Detection(NamedTuple):
    """One detected object: class name, score in [0, 1], xyxy box in pixels of the image."""

    name: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Detections:
    """The detections in one image, best first.

    Attributes:
        boxes: (N, 4) xyxy, px of the original image; float32 from a detector, float64 where they are scored.
        scores: (N,) of the same type, in [0, 1] from a detector.
        labels: (N,) int class ids, 1..C.
        classes: names of classes 1..C.

    Raises:
        ValueError: the shapes do not fit together, or a label has no name.
    """

    boxes: NDArray[np.floating[Any]]
    scores: NDArray[np.floating[Any]]
    labels: NDArray[np.integer[Any]]
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

    def above(self, score: float | NDArray[np.floating[Any]]) -> "Detections":
        """The detections that score above a threshold; or an (N,) array of thresholds, one for each."""
        kept = self.scores > score
        return Detections(self.boxes[kept], self.scores[kept], self.labels[kept], self.classes)

    def as_dicts(self) -> list[dict[str, Any]]:
        """Plain values for JSON: `class`, `label`, `score`, `box` (xyxy, px)."""
        return [
            {"class": name, "label": int(label), "score": round(score, 4), "box": [round(side, 2) for side in box]}
            for (name, score, box), label in zip(self, self.labels, strict=True)
        ]

    def to_supervision(self) -> "supervision.Detections":
        """The detections as an object of the library `supervision`, which draws, tracks and counts.

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
        boxes, scores, labels = self.boxes.copy(), self.scores.copy(), self.labels.astype(int)
        return supervision.Detections(xyxy=boxes, confidence=scores, class_id=labels, data={"class_name": names})


def to_detections(
    batch: "DetectionBatch", sizes: Iterable[tuple[int, int]], classes: tuple[str, ...], dtype: type = np.float32
) -> list[Detections]:
    """The detections of each image of a batch.

    Args:
        batch: of a compiled graph.
        sizes: height and width of the original images, px.
        classes: names of classes 1..C.
        dtype: of boxes and scores.
    """
    columns = zip(*(np.asarray(part) for part in batch), sizes, strict=True)
    return [
        Detections(boxes[:n] * np.array([width, height] * 2, dtype), scores[:n].astype(dtype), labels[:n], classes)
        for boxes, scores, labels, n, (height, width) in columns
    ]
