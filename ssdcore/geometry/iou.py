"""Overlaps of boxes in NumPy, in the precision of the boxes; units are the caller's."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]


def iou_matrix_xyxy(one: ArrayLike, other: ArrayLike, inclusive_pixels: bool = False) -> Floats:
    """IoU (N, M) of xyxy boxes (N, 4) and (M, 4); 0 where both boxes are empty.

    With `inclusive_pixels` sides are longer by 1 than the difference of their corners, as the VOC devkit counts.
    """
    intersection, areas, other_areas = _overlaps(one, other, int(inclusive_pixels))
    return _ratio(intersection, areas + other_areas - intersection)


def ios_matrix_xyxy(one: ArrayLike, other: ArrayLike) -> Floats:
    """Intersection over the area of the smaller box, (N, M), of xyxy boxes (N, 4) and (M, 4)."""
    intersection, areas, other_areas = _overlaps(one, other, 0)
    return _ratio(intersection, np.minimum(areas, other_areas))


def _overlaps(one: ArrayLike, other: ArrayLike, border: int) -> tuple[Floats, Floats, Floats]:
    """Areas of the intersections (N, M), of the first boxes (N, 1) and of the other ones (M,)."""
    # Columns that are contiguous in memory make this several times faster for many boxes.
    left, top, right, bottom = np.ascontiguousarray(np.reshape(one, (-1, 4)).T)[:, :, None]
    left2, top2, right2, bottom2 = np.ascontiguousarray(np.reshape(other, (-1, 4)).T)
    width = _length(np.maximum(left, left2), np.minimum(right, right2), border)
    height = _length(np.maximum(top, top2), np.minimum(bottom, bottom2), border)
    areas = _length(left, right, border) * _length(top, bottom, border)
    other_areas = _length(left2, right2, border) * _length(top2, bottom2, border)
    return width * height, areas, other_areas


def _length(low: Floats, high: Floats, border: int) -> Floats:
    length = high - low + border if border else high - low
    return np.maximum(length, 0)


def _ratio(part: Floats, whole: Floats) -> Floats:
    whole = np.asarray(whole, np.result_type(whole, np.float32))
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
