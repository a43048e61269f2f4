"""Matches the detections of an image with its ground truth by Pascal VOC's rule (VOC devkit, `VOCevaldet.m`).

A detection is true if the object of its class that it overlaps most has IoU of at least `match_iou`, is not
difficult, and is not matched by a better-scoring detection. If that object is difficult the detection is not
counted. Everything else is false.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
