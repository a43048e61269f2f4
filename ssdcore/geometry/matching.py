"""Which default box answers for which object (paper, section 2.2, "Matching strategy")."""

from typing import Any

import tensorflow as tf

from ssdcore.geometry.boxes import iou_xyxy

Tensor = Any

# Caffe's MatchBBox takes a smaller overlap for none.
_LEAST_IOU = 1e-6


def match_xyxy(objects: Tensor, default_boxes: Tensor, match_iou: float) -> Tensor:
    """Matches default boxes to objects, as Caffe's MatchBBox does.

    First greedily one to one: the pair of highest IoU among what is left, again and again, so that
    every object gets a default box of its own. Then every other default box goes to the object it
    overlaps most if their IoU is at least `match_iou`. Ties go to the lowest object index, then to
    the lowest default-box index.

    Args:
        objects: (N, 4) float32 xyxy; N may be 0.
        default_boxes: (A, 4) float32 xyxy in the same units.
        match_iou: threshold of the second step.

    Returns:
        (A,) int32: index of the matched object, -1 for none.
    """
    if tf.shape(objects)[0] == 0:
        return tf.fill(tf.shape(default_boxes)[:1], -1)
    iou = iou_xyxy(objects, default_boxes)
    best_object = tf.argmax(iou, axis=0, output_type=tf.int32)
    matched = tf.where(tf.reduce_max(iou, axis=0) >= match_iou, best_object, -1)
    pairs = _bipartite(iou)
    return tf.tensor_scatter_nd_update(matched, pairs[:, 1:], pairs[:, 0])


def _bipartite(iou: Tensor) -> Tensor:
    """Greedy one-to-one matching of an (N, A) IoU matrix: (M, 2) int32 pairs (object, default box).

    An object can lose at most N - 1 default boxes to others, so its N best ones are all the
    candidates there are: the search runs on an (N, N) table.
    """
    n = tf.shape(iou)[0]
    candidates = tf.minimum(n, tf.shape(iou)[1])
    scores, boxes = tf.math.top_k(iou, candidates)
    pairs = tf.TensorArray(tf.int32, size=0, dynamic_size=True, element_shape=[2])
    for _ in tf.range(n):
        flat = tf.argmax(tf.reshape(scores, [-1]), output_type=tf.int32)
        row, column = flat // candidates, flat % candidates
        if scores[row, column] <= _LEAST_IOU:
            break
        box = boxes[row, column]
        pairs = pairs.write(pairs.size(), tf.stack([row, box]))
        used = (tf.range(n)[:, None] == row) | (boxes == box)
        scores = tf.where(used, -1.0, scores)
    return tf.reshape(pairs.stack(), [-1, 2])
