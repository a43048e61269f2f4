"""Pascal VOC's average precision (VOC devkit, `VOCevaldet.m` and `VOCap.m`)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass
class _ClassTally:
    """All detections of one class so far: scores, and whether each was true, false or ignored."""

    scores: list[float] = field(default_factory=list)
    true: list[bool] = field(default_factory=list)
    objects: int = 0


class AveragePrecision:
    """Gathers pictures one by one, then gives the average precision of each class.

    A detection is true if the object of its class that it overlaps most has IoU of at least
    `match_iou`, is not difficult, and was not found by a better-scoring detection. If that object
    is difficult the detection counts neither way. Everything else is false.
    """

    def __init__(self, num_classes: int, match_iou: float = 0.5) -> None:
        self.num_classes = num_classes
        self.match_iou = match_iou
        self._tallies: defaultdict[int, _ClassTally] = defaultdict(_ClassTally)

    def add(
        self,
        detected_boxes: NDArray[np.floating],
        scores: NDArray[np.floating],
        detected_labels: NDArray[np.integer],
        boxes: NDArray[np.floating],
        labels: NDArray[np.integer],
        difficult: NDArray[np.bool_],
    ) -> None:
        """Adds one picture. Boxes are (N, 4) xyxy in any one unit; labels 1..C."""
        for label in np.union1d(detected_labels, labels):
            here, there = detected_labels == label, labels == label
            order = np.argsort(-scores[here], kind="stable")
            self._add_class(
                self._tallies[int(label)],
                detected_boxes[here][order].astype(np.float64),
                scores[here][order],
                boxes[there].astype(np.float64),
                difficult[there],
            )

    def _add_class(
        self, tally: _ClassTally, detected: Floats, scores: Floats, boxes: Floats, difficult: NDArray[np.bool_]
    ) -> None:
        tally.objects += int((~difficult).sum())
        found = np.zeros(len(boxes), bool)
        overlaps = _iou(detected, boxes)
        for row, score in zip(overlaps, scores, strict=True):
            best = int(row.argmax()) if len(row) else -1
            hit = best >= 0 and row[best] >= self.match_iou
            if hit and difficult[best]:
                continue
            tally.scores.append(float(score))
            tally.true.append(hit and not found[best])
            if hit:
                found[best] = True

    def result(self, metric: str) -> dict[int, float | None]:
        """Average precision of classes 1..C by `voc07` or `voc12`; None for a class without objects."""
        rule = {"voc07": average_precision_voc07, "voc12": average_precision_voc12}[metric]
        results: dict[int, float | None] = {}
        for label in range(1, self.num_classes + 1):
            tally = self._tallies[label]
            results[label] = rule(*precision_recall(tally.scores, tally.true, tally.objects)) if tally.objects else None
        return results


def _iou(one: Floats, other: Floats) -> Floats:
    """(N, M) IoU of xyxy boxes (N, 4) and (M, 4), in float64."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    intersection = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def precision_recall(scores: Iterable[float], true: Iterable[bool], objects: int) -> tuple[Floats, Floats]:
    """Precision and recall after each detection, best first.

    Args:
        scores: (N,) of the detections.
        true: (N,) whether each found an object.
        objects: number of objects that could be found, above 0.
    """
    order = np.argsort(-np.fromiter(scores, np.float64), kind="stable")
    hits = np.fromiter(true, np.float64)[order].cumsum()
    return hits / np.arange(1, len(hits) + 1), hits / objects


def average_precision_voc07(precision: Floats, recall: Floats) -> float:
    """Mean of the best precision at recall of at least 0, 0.1, ... 1 (VOC 2007)."""
    best = [precision[recall >= level].max(initial=0.0) for level in np.arange(11) / 10]
    return float(np.mean(best))


def average_precision_voc12(precision: Floats, recall: Floats) -> float:
    """Area under the precision-recall curve made monotone (VOC 2010 and later)."""
    recall = np.concatenate([[0.0], recall])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * envelope).sum())


def mean(results: Iterable[float | None]) -> float | None:
    """Mean over the classes that have objects; None if none has."""
    known = [value for value in results if value is not None]
    return float(np.mean(known)) if known else None
