"""Pascal VOC's rule of matching, and its average precision (VOC devkit, `VOCevaldet.m` and `VOCap.m`).

A detection is true if the object of its class that it overlaps most has IoU of at least `match_iou`, is not
difficult, and is not matched by a better-scoring detection. If that object is difficult the detection is not
counted. Everything else is false.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssdcore.data.records.ground_truth import GroundTruth
from ssdcore.detection.detections import Detections
from ssdcore.geometry.iou import iou_matrix_xyxy

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Ints = NDArray[np.integer[Any]]


def overlaps_of(truth: GroundTruth, detections: Detections, inclusive_pixels: bool) -> Floats:
    """IoU (N, M) float64 of the detections with the objects of an image."""
    return iou_matrix_xyxy(detections.boxes.astype(np.float64), truth.boxes.astype(np.float64), inclusive_pixels)


def best_overlaps(overlaps: Floats, allowed: Bools) -> tuple[Ints, Floats]:
    """The largest allowed value of each row.

    Args:
        overlaps: (N, M) IoU.
        allowed: (N, M), pairs to look at.

    Returns:
        (N,) column, -1 without one, and (N,) its value, 0 without one.
    """
    if not overlaps.size:
        return np.full(len(overlaps), -1), np.zeros(len(overlaps))
    values = np.where(allowed, overlaps, -1)
    best = values.argmax(axis=1)
    largest = values[np.arange(len(best)), best]
    return np.where(largest < 0, -1, best), largest.clip(0)


def match_detections(
    best: Ints, overlaps: Floats, scores: Floats, ignored: Bools, match_iou: float, order: Ints | None = None
) -> tuple[Bools, Bools]:
    """Matches the detections of an image.

    Args:
        best: (N,) object of its class that each detection overlaps most, see `best_overlaps`.
        overlaps: (N,) IoU with it.
        scores: (N,) of any range.
        ignored: (M,) objects that do not count.
        match_iou: least IoU of a match, above 0.
        order: (N,) order among detections of equal scores; None: as they come.

    Returns:
        (N,) whether each counts, which one matched with an ignored object does not, and (N,) whether it is true.
    """
    hit = (best >= 0) & (overlaps >= match_iou)
    counted = ~hit
    counted[hit] = ~ignored[best[hit]]
    rank = np.arange(len(best)) if order is None else order
    by_score = np.lexsort((rank, -scores.astype(np.float64)))
    matching = by_score[hit[by_score]]
    _, first = np.unique(best[matching], return_index=True)
    true = np.zeros(len(best), bool)
    true[matching[first]] = True
    return counted, true & counted


class AveragePrecision:
    """Collects images one by one, then gives the average precision of each class.

    Of an image only the detections' classes, scores and truth stay in memory.
    """

    def __init__(self, num_classes: int, match_iou: float = 0.5, inclusive_pixels: bool = False) -> None:
        """Starts without images.

        Args:
            num_classes: number of classes, background not counted.
            match_iou: least IoU of a match.
            inclusive_pixels: boxes are in pixels and include their last row and column, as the devkit counts.
        """
        self.num_classes = num_classes
        self.match_iou = match_iou
        self.inclusive_pixels = inclusive_pixels
        # Of detections that count, (N,) each: class, score, order among equal scores, and whether it is true.
        self._counted: list[tuple[Any, ...]] = [(np.zeros(0, int), np.zeros(0), np.zeros(0, int), np.zeros(0, bool))]
        self._added = 0
        self._objects = np.zeros(num_classes + 1, np.int64)

    def add(self, truth: GroundTruth, detections: Detections, order: Ints | None = None) -> None:
        """Adds one image; `order` (N,) is that of detections with equal scores in all images, None: as they come."""
        scores, labels = detections.scores, detections.labels
        if order is None:
            order = self._added + np.arange(len(scores))
        self._added += len(scores)
        self._objects += np.bincount(truth.labels[~truth.ignored], minlength=self.num_classes + 1)
        own_class = labels[:, None] == truth.labels[None, :]
        best = best_overlaps(overlaps_of(truth, detections, self.inclusive_pixels), own_class)
        counted, true = match_detections(*best, scores, truth.ignored, self.match_iou, order)
        scores = scores.astype(np.float64)
        self._counted.append((labels[counted], scores[counted], order[counted], true[counted]))

    def result(self, metric: str) -> dict[int, float | None]:
        """Average precision of classes 1..C by `voc07` or `voc12`; None for a class without objects."""
        labels, scores, order, true = (np.concatenate(column) for column in zip(*self._counted, strict=True))
        in_order = order.argsort(kind="stable")
        results = {}
        for label, objects in enumerate(self._objects[1:].tolist(), start=1):
            rows = in_order[labels[in_order] == label]
            results[label] = average_precision(scores[rows], true[rows], objects, metric)
        return results


def average_precision(scores: Floats, true: Bools, objects: int, metric: str) -> float | None:
    """Average precision by `voc07` or `voc12` of detections (N,) in order; None without objects."""
    rule = {"voc07": average_precision_voc07, "voc12": average_precision_voc12}[metric]
    return rule(*precision_recall(scores, true, objects)) if objects else None


def precision_recall(scores: ArrayLike, true: ArrayLike, objects: int) -> tuple[Floats, Floats]:
    """Precision and recall after each detection, best first.

    Args:
        scores: (N,) of the detections.
        true: (N,) whether each matches an object.
        objects: number of objects to detect, above 0.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    hits = np.asarray(true, np.float64)[order].cumsum()
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
