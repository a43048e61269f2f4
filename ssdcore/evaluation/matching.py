"""Which detections of an image are true, by Pascal VOC's rule (VOC devkit, `VOCevaldet.m`); NumPy only.

A detection is true if the object of its class that it overlaps most has IoU of at least `match_iou`, is not
difficult, and was not found by a better-scoring detection. If that object is difficult the detection counts neither
way. Everything else is false.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Numbers = NDArray[np.int64]


class Judged(NamedTuple):
    """What the detections of an image are, (N,) each, in the order in which they were given.

    Attributes:
        best: int64, place of the object of its class that each overlaps most; -1 where there is none.
        overlaps: float64, IoU with it; 0 where there is none.
        counted: bool; False for a match with a difficult object, which counts neither way.
        true: bool.
    """

    best: Numbers
    overlaps: Floats
    counted: Bools
    true: Bools


def iou(one: NDArray[np.floating], other: NDArray[np.floating], inclusive_pixels: bool = False) -> Floats:
    """IoU (N, M) of xyxy boxes (N, 4) and (M, 4) of one unit.

    With `inclusive_pixels` sides are longer by 1 than their corners say, as the devkit counts.
    """
    one, other, border = one.astype(np.float64), other.astype(np.float64), float(inclusive_pixels)
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    intersection = (high - low + border).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2] + border).clip(0).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def nearest(overlaps: Floats, allowed: Bools) -> tuple[Numbers, Floats]:
    """For each row of (N, M) the allowed column of the largest value, (N,), -1 without one, and that value, else 0."""
    if not overlaps.size:
        return np.full(len(overlaps), -1), np.zeros(len(overlaps))
    values = np.where(allowed, overlaps, -1)
    best = values.argmax(axis=1)
    found = values[np.arange(len(best)), best]
    return np.where(found < 0, -1, best), found.clip(0)


def judge(
    best: Numbers, overlaps: Floats, scores: NDArray[np.floating], places: Numbers, difficult: Bools, match_iou: float
) -> Judged:
    """Judges the detections of an image.

    Args:
        best: (N,) place of the object of its class that each overlaps most, see `nearest`.
        overlaps: (N,) IoU with it.
        scores: (N,) of any range.
        places: (N,) order among detections of equal scores.
        difficult: (M,) of the objects.
        match_iou: least IoU of a match, above 0.
    """
    hit = (best >= 0) & (overlaps >= match_iou)
    counted = ~hit
    counted[hit] = ~difficult[best[hit]]
    order = np.lexsort((places, -scores.astype(np.float64)))
    matching = order[hit[order]]
    _, first = np.unique(best[matching], return_index=True)
    true = np.zeros(len(best), bool)
    true[matching[first]] = True
    return Judged(best, overlaps, counted, true & counted)
