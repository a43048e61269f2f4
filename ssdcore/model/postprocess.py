"""From network outputs to boxes: softmax, decoding and non-maximum suppression per class."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from ssdcore.geometry.boxes import clip_xyxy
from ssdcore.geometry.coder import decode_xyxy
from ssdcore.params import EvalParams
from ssdcore.types import Tensor


class DetectionBatch(NamedTuple):
    """Detections of a batch of images, best first, padded with zeros to `keep` rows.

    Attributes:
        boxes: (B, keep, 4) float32 xyxy, normalised and inside the image.
        scores: (B, keep) float32 in [0, 1].
        labels: (B, keep) int32, 1..C; 0 in padding.
        counts: (B,) int32, rows that are detections.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    counts: Tensor


def postprocess(
    logits: Tensor, offsets: Tensor, default_boxes: Tensor, variances: Sequence[float], params: EvalParams
) -> DetectionBatch:
    """Detections in a batch of predictions, as Caffe's DetectionOutput makes them.

    For each class the `top_k` best boxes above `score_threshold` go through non-maximum
    suppression; over all classes the `keep` best survivors of each image remain.

    Args:
        logits: (B, A, C+1) float32.
        offsets: (B, A, 4) float32.
        default_boxes: (A, 4) float32 xyxy, normalised.
        variances: of the offsets.
        params: thresholds and limits.
    """
    scores = tf.transpose(tf.nn.softmax(logits)[..., 1:], [0, 2, 1])
    boxes = decode_xyxy(offsets, default_boxes, variances)
    top_scores, index = tf.math.top_k(scores, tf.minimum(params.top_k, tf.shape(scores)[2]))
    top_boxes = tf.gather(boxes, index, batch_dims=1)
    found = tf.image.combined_non_max_suppression(
        tf.transpose(top_boxes, [0, 2, 1, 3]),
        tf.transpose(top_scores, [0, 2, 1]),
        max_output_size_per_class=params.top_k,
        max_total_size=params.keep,
        iou_threshold=params.nms_iou,
        score_threshold=params.score_threshold,
        clip_boxes=False,
    )
    kept = tf.range(params.keep)[None, :] < found.valid_detections[:, None]
    labels = tf.where(kept, tf.cast(found.nmsed_classes, tf.int32) + 1, 0)
    return DetectionBatch(clip_xyxy(found.nmsed_boxes), found.nmsed_scores, labels, found.valid_detections)
