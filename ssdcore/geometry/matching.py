"""Assigns default boxes to ground-truth boxes (paper, section 2.2, "Matching strategy")."""

import tensorflow as tf

from ssdcore.geometry.boxes import iou_xyxy
from ssdcore.types import Tensor

# Caffe's MatchBBox ignores smaller overlaps.
_LEAST_IOU = 1e-6


def match_xyxy(boxes: Tensor, default_boxes: Tensor, match_iou: float) -> Tensor:
    """Matches default boxes to ground-truth boxes, as Caffe's MatchBBox does.

    First greedily one to one: repeatedly the remaining pair of highest IoU, so that every ground-truth
    box gets a default box of its own. Then every other default box is assigned to the ground-truth box it
    overlaps most, if their IoU is at least `match_iou`. Ties go to the lowest ground-truth index, then to
    the lowest default-box index.

    Args:
        boxes: (N, 4) float32 xyxy, the ground truth; N may be 0.
        default_boxes: (A, 4) float32 xyxy in the same units.
        match_iou: threshold of the second step.

    Returns:
        (A,) int32: index of the matched ground-truth box, -1 for none.
    """
    if tf.shape(boxes)[0] == 0:
        return tf.fill(tf.shape(default_boxes)[:1], -1)
    iou = iou_xyxy(boxes, default_boxes)
    pairs = _bipartite(iou)
    return tf.tensor_scatter_nd_update(_per_default_box(iou, match_iou), pairs[:, 1:], pairs[:, 0])


def _per_default_box(iou: Tensor, match_iou: float) -> Tensor:
    """(A,) int32: the row of highest IoU in each column of an (N, A) matrix; -1 if that is below `match_iou`.

    Few pairs reach it, so that a maximum over these is much faster than one over all rows.
    """
    pairs = tf.where(iou >= match_iou)
    overlaps = tf.gather_nd(iou, pairs)
    rows, columns = tf.unstack(tf.cast(pairs, tf.int32), axis=1)
    count = tf.shape(iou)[1]
    best = tf.gather(tf.math.unsorted_segment_max(overlaps, columns, count), columns) == overlaps
    lowest = tf.math.unsorted_segment_min(rows[best], columns[best], count)
    return tf.where(lowest < tf.shape(iou)[0], lowest, -1)


def _bipartite(iou: Tensor) -> Tensor:
    """Greedy one-to-one matching of an (N, A) IoU matrix: (M, 2) int32 pairs (ground truth, default box)."""
    best = tf.argmax(iou, axis=1, output_type=tf.int32)
    distinct = tf.size(tf.unique(best).y) == tf.size(best)
    if distinct and tf.reduce_all(tf.gather(iou, best, axis=1, batch_dims=1) > _LEAST_IOU):
        return tf.stack([tf.range(tf.shape(iou)[0]), best], axis=1)
    return _greedy(iou)


def _greedy(iou: Tensor) -> Tensor:
    """The matching of `_bipartite` if ground-truth boxes compete for default boxes.

    A ground-truth box can lose at most N - 1 default boxes to others, so that only its N best ones are
    candidates: the search runs on an (N, N) table.
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
