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
    pairs = _bipartite(iou)
    return tf.tensor_scatter_nd_update(_best_objects(iou, match_iou), pairs[:, 1:], pairs[:, 0])


def _best_objects(iou: Tensor, match_iou: float) -> Tensor:
    """(A,) int32: the object of highest IoU of each column of an (N, A) matrix; -1 if that is below `match_iou`.

    Few pairs reach it, and a maximum of these takes a fraction of the time of one down all columns.
    """
    pairs = tf.where(iou >= match_iou)
    overlaps = tf.gather_nd(iou, pairs)
    objects, boxes = tf.unstack(tf.cast(pairs, tf.int32), axis=1)
    count = tf.shape(iou)[1]
    best = tf.gather(tf.math.unsorted_segment_max(overlaps, boxes, count), boxes) == overlaps
    lowest = tf.math.unsorted_segment_min(objects[best], boxes[best], count)
    return tf.where(lowest < tf.shape(iou)[0], lowest, -1)


def _bipartite(iou: Tensor) -> Tensor:
    """Greedy one-to-one matching of an (N, A) IoU matrix: (M, 2) int32 pairs (object, default box)."""
    favourites = tf.argmax(iou, axis=1, output_type=tf.int32)
    undisputed = tf.size(tf.unique(favourites).y) == tf.size(favourites)
    if undisputed and tf.reduce_all(tf.gather(iou, favourites, axis=1, batch_dims=1) > _LEAST_IOU):
        return tf.stack([tf.range(tf.shape(iou)[0]), favourites], axis=1)
    return _greedy(iou)


def _greedy(iou: Tensor) -> Tensor:
    """What `_bipartite` gives where objects compete for default boxes.

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
