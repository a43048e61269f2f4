"""Box formats, areas and overlaps. All tensors are float32; units are the caller's."""

import tensorflow as tf

from ssdcore.types import Tensor


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """(..., 4) corners to centres and sizes, in the same units."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return tf.concat([(low + high) / 2, high - low], axis=-1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) centres and sizes to corners, in the same units."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return tf.concat([centre - half, centre + half], axis=-1)


def area_xyxy(boxes: Tensor) -> Tensor:
    """Areas (...,) of xyxy boxes (..., 4); 0 for inverted boxes."""
    size = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return size[..., 0] * size[..., 1]


def iou_xyxy(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union (N, M), in [0, 1], of xyxy boxes (N, 4) and (M, 4) in the same units.

    It is 0 where both boxes are empty.
    """
    intersection = intersection_xyxy(one, other)
    union = area_xyxy(one)[:, None] + area_xyxy(other)[None, :] - intersection
    return tf.math.divide_no_nan(intersection, union)


def intersection_xyxy(one: Tensor, other: Tensor) -> Tensor:
    """Areas (N, M) of the intersections of xyxy boxes (N, 4) and (M, 4)."""
    return _overlap(one, other, 0) * _overlap(one, other, 1)


def _overlap(one: Tensor, other: Tensor, axis: int) -> Tensor:
    """Overlap (N, M) of pairs of boxes along x (axis 0) or y (axis 1)."""
    low = tf.maximum(one[:, None, axis], other[None, :, axis])
    high = tf.minimum(one[:, None, axis + 2], other[None, :, axis + 2])
    return tf.maximum(high - low, 0.0)


def clip_xyxy(boxes: Tensor) -> Tensor:
    """Clips normalised xyxy boxes (..., 4) to the image, [0, 1]."""
    return tf.clip_by_value(boxes, 0.0, 1.0)


def to_window_xyxy(boxes: Tensor, window: Tensor) -> Tensor:
    """Transforms xyxy boxes (N, 4) to a window's coordinates, in which its corners are (0, 0) and (1, 1).

    The window (4,) is xyxy in the same units, with positive sides.
    """
    origin, size = window[:2], window[2:] - window[:2]
    return (boxes - tf.tile(origin, [2])) / tf.tile(size, [2])


def from_window_xyxy(boxes: Tensor, window: Tensor) -> Tensor:
    """The inverse of `to_window_xyxy`; also of (B, N, 4) boxes by (B, 1, 4) windows."""
    origin, size = window[..., :2], window[..., 2:] - window[..., :2]
    return boxes * tf.concat([size, size], axis=-1) + tf.concat([origin, origin], axis=-1)
