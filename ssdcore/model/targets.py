"""Training targets of an image."""

from collections.abc import Sequence

import tensorflow as tf

from ssdcore.geometry.boxes import area_xyxy, intersection_xyxy
from ssdcore.geometry.coder import encode_xyxy
from ssdcore.geometry.matching import match_xyxy
from ssdcore.params.class_names import IGNORED
from ssdcore.types import Tensor


def encode_targets(
    boxes: Tensor, labels: Tensor, default_boxes: Tensor, match_iou: float, variances: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Labels and offsets of all default boxes of one image.

    Args:
        boxes: (N, 4) float32 xyxy, normalised, with positive sides.
        labels: (N,) int32 class ids, 1..C, or `IGNORED`.
        default_boxes: (A, 4) float32 xyxy, normalised.
        match_iou: least IoU to match; see `match_xyxy`.
        variances: of the offsets; see `encode_xyxy`.

    Returns:
        labels (A,) int32, 0 where unmatched, `IGNORED` where unmatched and mostly inside an ignored
        box; and offsets (A, 4) float32, 0 where unmatched.
    """
    ignored = boxes[labels < 0]
    boxes, labels = boxes[labels > 0], labels[labels > 0]
    matched = match_xyxy(boxes, default_boxes, match_iou)
    positive = tf.where(matched >= 0)
    rows = tf.gather_nd(matched, positive)
    offsets = encode_xyxy(tf.gather(boxes, rows), tf.gather_nd(default_boxes, positive), variances)
    inside = intersection_xyxy(default_boxes, ignored) / area_xyxy(default_boxes)[:, None]
    background = tf.where(tf.reduce_any(inside > 0.5, axis=1), IGNORED, 0)
    return (
        tf.tensor_scatter_nd_update(background, positive, tf.gather(labels, rows)),
        tf.scatter_nd(positive, offsets, tf.shape(default_boxes, tf.int64)),
    )
