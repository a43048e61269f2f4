"""The compiled path from pictures to detections."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ssdcore.geometry.boxes import clip_xyxy, from_window_xyxy
from ssdcore.model import SSD
from ssdcore.model.postprocess import DetectionBatch, postprocess
from ssdcore.params import EvalParams

Predict = Callable[[Any, Any], DetectionBatch]


def make_predict(ssd: SSD, params: EvalParams) -> Predict:
    """A function from network inputs to detections in the pictures.

    It takes images (B, h, w, 3) float32 0..255 and the windows (B, 4) float32 xyxy of the pictures'
    planes that they show; see `ssdcore.data.fit`.
    """
    default_boxes = tf.constant(ssd.default_boxes)
    images = tf.TensorSpec((None, *ssd.params.model.image_size, 3), tf.float32)

    @tf.function(input_signature=[images, tf.TensorSpec((None, 4), tf.float32)])
    def predict(images: Any, windows: Any) -> DetectionBatch:
        outputs = ssd.network(images, training=False)
        found = postprocess(outputs["logits"], outputs["offsets"], default_boxes, ssd.params.model.variances, params)
        return found._replace(boxes=clip_xyxy(from_window_xyxy(found.boxes, windows[:, None])))

    return predict
