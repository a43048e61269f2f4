"""The compiled path from pictures to detections."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ssdcore.model import SSD
from ssdcore.model.postprocess import DetectionBatch, postprocess
from ssdcore.params import EvalParams

Predict = Callable[[Any], DetectionBatch]


def make_predict(ssd: SSD, params: EvalParams) -> Predict:
    """A function from pictures (B, h, w, 3) float32 0..255 at the network's size to detections."""
    default_boxes = tf.constant(ssd.default_boxes)

    @tf.function(input_signature=[tf.TensorSpec((None, *ssd.params.model.image_size, 3), tf.float32)])
    def predict(images: Any) -> DetectionBatch:
        outputs = ssd.network(images, training=False)
        return postprocess(outputs["logits"], outputs["offsets"], default_boxes, ssd.params.model.variances, params)

    return predict
