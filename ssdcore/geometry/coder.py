"""Encodes boxes as offsets from default boxes, and decodes them (paper, equation 2; Caffe's CENTER_SIZE)."""

from collections.abc import Sequence

import tensorflow as tf

from ssdcore.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from ssdcore.types import Tensor

# exp(7) is a box 1,000 times as large as its default box, which only an untrained network predicts.
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
    """Decodes offsets to boxes (..., 4) xyxy: the inverse of `encode_xyxy`, always finite."""
    default = xyxy_to_cxcywh(default_boxes)
    scaled = offsets * tf.constant(variances, tf.float32)
    centre = default[..., :2] + scaled[..., :2] * default[..., 2:]
    size = default[..., 2:] * tf.exp(tf.minimum(scaled[..., 2:], _LARGEST_LOG_SCALE))
    return cxcywh_to_xyxy(tf.concat([centre, size], axis=-1))
