"""The compiled path from images to detections."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ssdcore.geometry.boxes import area_xyxy, clip_xyxy, from_window_xyxy
from ssdcore.model import SSD
from ssdcore.model.postprocess import DetectionBatch, postprocess
from ssdcore.params import EvalParams

Predict = Callable[[Any, Any], DetectionBatch]


def make_predict(ssd: SSD, params: EvalParams) -> Predict:
    """A function from network inputs to detections in the images.

    It takes images (B, h, w, 3) float32 0..255 and the windows (B, 4) float32 xyxy of the images'
    planes that they show; see `ssdcore.data.resize`.
    """
    network, finish = split_inference(ssd, params)

    @tf.function(input_signature=[_images(ssd), _WINDOWS])
    def predict(images: Any, windows: Any) -> DetectionBatch:
        return finish(network(images), windows)

    return predict


def split_inference(ssd: SSD, params: EvalParams) -> tuple[Callable[[Any], Any], Callable[[Any, Any], DetectionBatch]]:
    """The two halves of `make_predict`: images to outputs of the network, these and windows to detections."""
    default_boxes = tf.constant(ssd.default_boxes)
    outputs = tuple(
        tf.TensorSpec((None, len(ssd.default_boxes), width), tf.float32) for width in (len(ssd.classes) + 1, 4)
    )

    @tf.function(input_signature=[_images(ssd)])
    def network(images: Any) -> Any:
        outputs = ssd.network(images, training=False)
        return outputs["logits"], outputs["offsets"]

    @tf.function(input_signature=[outputs, _WINDOWS])
    def finish(outputs: Any, windows: Any) -> DetectionBatch:
        logits, offsets = outputs
        found = postprocess(logits, offsets, default_boxes, ssd.model.variances, params)
        return _inside(found._replace(boxes=clip_xyxy(from_window_xyxy(found.boxes, windows[:, None]))))

    return network, finish


_WINDOWS = tf.TensorSpec((None, 4), tf.float32)


def _images(ssd: SSD) -> tf.TensorSpec:
    return tf.TensorSpec((None, *ssd.model.image_size, 3), tf.float32)


def _inside(found: DetectionBatch) -> DetectionBatch:
    """The detections that have an area in their image; one in the padding around it has none."""
    rows = tf.range(tf.shape(found.scores)[1])[None, :]
    real = (rows < found.counts[:, None]) & (area_xyxy(found.boxes) > 0)
    order = tf.argsort(tf.cast(~real, tf.int32), axis=1, stable=True)

    def kept(part: Any, mask: Any) -> Any:
        return tf.gather(tf.where(mask, part, tf.zeros_like(part)), order, batch_dims=1)

    return DetectionBatch(
        boxes=kept(found.boxes, real[..., None]),
        scores=kept(found.scores, real),
        labels=kept(found.labels, real),
        counts=tf.reduce_sum(tf.cast(real, tf.int32), axis=1),
    )
