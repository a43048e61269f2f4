"""Pascal VOC's average precision (VOC devkit, `VOCevaldet.m` and `VOCap.m`)."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssdcore.evaluation.matching import Bools, Floats, Numbers, iou, judge, nearest


class _Counted(NamedTuple):
    """Detections that count, each (N,): class, score, place among those of equal score, and whether it is true."""

    labels: Numbers
    scores: Floats
    places: Numbers
    true: Bools


_NONE = _Counted(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool))


class AveragePrecision:
    """Gathers images one by one, then gives the average precision of each class.

    Which detections are true is said in `ssdcore.evaluation.matching`. Of an image only the detections' classes,
    scores and truth stay in memory.
    """

    def __init__(self, num_classes: int, match_iou: float = 0.5, inclusive_pixels: bool = False) -> None:
        """Begins with no image.

        Args:
            num_classes: number of classes, background not counted.
            match_iou: least IoU of a match.
            inclusive_pixels: boxes are in pixels, and reach to the end of their last ones, as the devkit counts.
        """
        self.num_classes = num_classes
        self.match_iou = match_iou
        self.inclusive_pixels = inclusive_pixels
        self._counted = [_NONE]
        self._added = 0
        self._objects = np.zeros(num_classes + 1, np.int64)

    def add(
        self,
        detected_boxes: NDArray[np.floating],
        scores: NDArray[np.floating],
        detected_labels: NDArray[np.integer],
        boxes: NDArray[np.floating],
        labels: NDArray[np.integer],
        difficult: Bools,
        places: Numbers | None = None,
    ) -> None:
        """Adds one image.

        Args:
            detected_boxes: (N, 4) xyxy, in the unit of `boxes`.
            scores: (N,), of any range.
            detected_labels: (N,) 1..C.
            boxes: (M, 4) of the objects.
            labels: (M,) 1..C.
            difficult: (M,).
            places: (N,) order among detections of equal scores in all images; None: the order of arrival.
        """
        if places is None:
            places = self._added + np.arange(len(scores))
        self._added += len(scores)
        self._objects += np.bincount(labels[~difficult], minlength=self.num_classes + 1)
        own_class = detected_labels[:, None] == labels[None, :]
        best = nearest(iou(detected_boxes, boxes, self.inclusive_pixels), own_class)
        judged = judge(*best, scores, places, difficult, self.match_iou)
        kept = judged.counted
        parts = detected_labels[kept].astype(np.int64), scores[kept].astype(np.float64), places[kept], judged.true[kept]
        self._counted.append(_Counted(*parts))

    def result(self, metric: str) -> dict[int, float | None]:
        """Average precision of classes 1..C by `voc07` or `voc12`; None for a class without objects."""
        rule = {"voc07": average_precision_voc07, "voc12": average_precision_voc12}[metric]
        counted = _Counted(*map(np.concatenate, zip(*self._counted, strict=True)))
        self._counted = [counted]
        by_place = counted.places.argsort(kind="stable")
        results: dict[int, float | None] = dict.fromkeys(range(1, self.num_classes + 1))
        for label in np.flatnonzero(self._objects).tolist():
            rows = by_place[counted.labels[by_place] == label]
            curve = precision_recall(counted.scores[rows], counted.true[rows], int(self._objects[label]))
            results[label] = rule(*curve)
        return results


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
