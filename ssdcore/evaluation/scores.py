"""Scores of detections by the metric that the parameters name."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ssdcore.data.records.ground_truth import GroundTruth
from ssdcore.detection.detections import Detections
from ssdcore.evaluation.coco import CocoScores
from ssdcore.evaluation.voc import AveragePrecision, Ints, mean
from ssdcore.params import EvalParams


@dataclass(frozen=True)
class Speed:
    """How long the parts of an evaluation took, warm-up excluded, in seconds.

    Attributes:
        images: how many were timed.
        read: waiting for images to be read, decoded and resized.
        network: forward pass.
        nms: decoding and non-maximum suppression.
    """

    images: int
    read: float
    network: float
    nms: float

    @property
    def images_per_second(self) -> float:
        """Images per second, reading included."""
        return self.images / max(self.read + self.network + self.nms, 1e-9)

    def as_dict(self) -> dict[str, float | int]:
        """Plain values, for JSON: milliseconds for each image."""
        parts = {"read": self.read, "network": self.network, "nms": self.nms}
        each = {f"{name}_ms": round(1000 * seconds / max(self.images, 1), 3) for name, seconds in parts.items()}
        return {"images": self.images, "images_per_second": round(self.images_per_second, 2), **each}


@dataclass(frozen=True)
class Evaluation:
    """The scores of a detector on a split.

    Attributes:
        metric: `voc07`, `voc12` or `coco`.
        mean_average_precision: over the classes that occur; None if none occurs.
        average_precisions: class name -> value, None where the class does not occur.
        match_iou: least IoU of a match; None for `coco`, which takes the mean of 0.50, 0.55, ... 0.95.
        score_threshold: least score of the detections; None: they came from files.
        images, objects, difficult: their numbers; `objects` without the ignored ones.
        coco: COCO's twelve numbers by name; None by the other metrics.
        speed: None if no detector ran.
    """

    metric: str
    mean_average_precision: float | None
    average_precisions: dict[str, float | None]
    match_iou: float | None
    score_threshold: float | None
    images: int
    objects: int
    difficult: int
    coco: dict[str, float | None] | None = None
    speed: Speed | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "speed": self.speed and self.speed.as_dict()}


class Tally:
    """Collects the images of a split one by one, then scores them."""

    def __init__(self, classes: Sequence[str], names: Sequence[str], params: EvalParams) -> None:
        """Starts without images.

        Args:
            classes: names of classes 1..C.
            names: of the images, in the order in which they will be added.
            params: the metric and its parameters.
        """
        self._classes = tuple(classes)
        self._params = params
        self._coco = CocoScores(classes, names) if params.metric == "coco" else None
        self._voc = AveragePrecision(len(classes), params.match_iou, params.inclusive_pixels)
        self.images = self._objects = self._difficult = 0

    def add(self, truth: GroundTruth, detections: Detections, order: Ints | None = None) -> None:
        """Adds one image; see `AveragePrecision.add` for `order`."""
        self.images += 1
        self._difficult += int(np.count_nonzero(truth.ignored))
        self._objects += int(np.count_nonzero(~truth.ignored))
        if self._coco:
            self._coco.add(truth, detections)
        else:
            self._voc.add(truth, detections, order)

    def evaluation(self, score_threshold: float | None, speed: Speed | None = None) -> Evaluation:
        """The scores of all images that were added; see `Evaluation` for the arguments."""
        metric = self._params.metric
        coco = None
        if self._coco:
            coco, by_class = self._coco.result()
        else:
            by_class = list(self._voc.result(metric).values())
        return Evaluation(
            metric=metric,
            mean_average_precision=coco["AP"] if coco else mean(by_class),
            average_precisions=dict(zip(self._classes, by_class, strict=True)),
            match_iou=None if coco else self._params.match_iou,
            score_threshold=score_threshold,
            images=self.images,
            objects=self._objects,
            difficult=self._difficult,
            coco=coco,
            speed=speed,
        )
