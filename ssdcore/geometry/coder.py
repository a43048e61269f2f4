"""Boxes as offsets from default boxes, and back (paper, equation 2; Caffe's CENTER_SIZE code)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ssdcore.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh

Tensor = Any

# exp() of a larger value means a box over 1,000 times its default box: an untrained network's output.
_LARGEST_LOG_SCALE = 7.0


def encode_xyxy(boxes: Tensor, default_boxes: Tensor, variances: Sequence[float]) -> Tensor:
    """Offsets of boxes from default boxes.

    Args:
        boxes: (..., 4) float32 xyxy with positive sides.
        default_boxes: (..., 4) float32 xyxy in the same units, one for each box.
        variances: (cx, cy, w, h), by which the offsets are divided.

    Returns:
        (..., 4) float32 (cx, cy, w, h): centre distance in default-box sides, log of size ratio.
    """
    box, default = xyxy_to_cxcywh(boxes), xyxy_to_cxcywh(default_boxes)
    centre = (box[..., :2] - default[..., :2]) / default[..., 2:]
    size = tf.math.log(box[..., 2:] / default[..., 2:])
    return tf.concat([centre, size], axis=-1) / tf.constant(variances, tf.float32)


def decode_xyxy(offsets: Tensor, default_boxes: Tensor, variances: Sequence[float]) -> Tensor:
    """The boxes (..., 4) xyxy that offsets mean; the inverse of `encode_xyxy`, always finite."""
    default = xyxy_to_cxcywh(default_boxes)
    scaled = offsets * tf.constant(variances, tf.float32)
    centre = default[..., :2] + scaled[..., :2] * default[..., 2:]
    size = default[..., 2:] * tf.exp(tf.minimum(scaled[..., 2:], _LARGEST_LOG_SCALE))
    return cxcywh_to_xyxy(tf.concat([centre, size], axis=-1))
