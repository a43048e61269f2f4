"""What the network should have predicted for a picture."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ssdcore.class_names import IGNORED
from ssdcore.geometry.boxes import area_xyxy, intersection_xyxy
from ssdcore.geometry.coder import encode_xyxy
from ssdcore.geometry.matching import match_xyxy

Tensor = Any


def encode_targets(
    boxes: Tensor, labels: Tensor, default_boxes: Tensor, match_iou: float, variances: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Labels and offsets of all default boxes of one picture.

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
    positive = matched >= 0
    # An extra row for the unmatched keeps every gather in range, also on pictures without objects.
    row = tf.where(positive, matched, tf.shape(boxes)[0])
    labels = tf.gather(tf.pad(labels, [[0, 1]]), row)
    labels = tf.where(~positive & _mostly_inside(default_boxes, ignored), IGNORED, labels)
    own_box = tf.where(positive[:, None], tf.gather(tf.pad(boxes, [[0, 1], [0, 0]]), row), default_boxes)
    offsets = encode_xyxy(own_box, default_boxes, variances)
    return labels, tf.where(positive[:, None], offsets, 0.0)


def _mostly_inside(default_boxes: Tensor, regions: Tensor) -> Tensor:
    """Whether more than half of each default box (A, 4) lies in one of the regions (N, 4); (A,) bool."""
    shares = intersection_xyxy(default_boxes, regions) / area_xyxy(default_boxes)[:, None]
    return tf.reduce_any(shares > 0.5, axis=1)
