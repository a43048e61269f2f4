"""The MultiBox loss with hard-negative mining (paper, section 2.2; Caffe's MultiBoxLoss)."""

from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any


class MultiBoxLoss(NamedTuple):
    """Sums over a batch, before division by the number of positives; all float32 scalars.

    Attributes:
        classes: softmax cross-entropy of the positives and of the mined negatives.
        boxes: smooth-L1 of the positives' offsets.
        positives: number of matched default boxes.
        negatives: number of mined ones.
    """

    classes: Tensor
    boxes: Tensor
    positives: Tensor
    negatives: Tensor


def multibox_loss(
    logits: Tensor, offsets: Tensor, labels: Tensor, target_offsets: Tensor, negative_ratio: float
) -> MultiBoxLoss:
    """Loss sums of a batch.

    In each image the unmatched default boxes that look least like background are kept as
    negatives, `negative_ratio` for each positive. Images without positives add nothing.

    Args:
        logits: (B, A, C+1) float32.
        offsets: (B, A, 4) float32, predicted.
        labels: (B, A) int32; 0 is background; -1 is left out.
        target_offsets: (B, A, 4) float32; read only where `labels` is above 0.
        negative_ratio: negatives per positive.
    """
    positive = labels > 0
    weights = tf.cast(positive, tf.float32)
    class_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
    # Chosen before the subtraction, so that nothing of an unmatched target reaches the gradient.
    error = tf.where(positive[..., None], offsets - target_offsets, 0.0)
    negatives, mined = _mine(class_loss, positive, labels == 0, negative_ratio)
    return MultiBoxLoss(
        classes=tf.reduce_sum(class_loss * weights) + mined,
        boxes=tf.reduce_sum(smooth_l1(error)),
        positives=tf.reduce_sum(weights),
        negatives=negatives,
    )


def smooth_l1(x: Tensor) -> Tensor:
    """x²/2 where |x| < 1, else |x| - 1/2 (Fast R-CNN, equation 3)."""
    absolute = tf.abs(x)
    return tf.where(absolute < 1, 0.5 * tf.square(x), absolute - 0.5)


def _mine(class_loss: Tensor, positive: Tensor, eligible: Tensor, negative_ratio: float) -> tuple[Tensor, Tensor]:
    """Number and summed class loss of the hardest negatives of each image.

    A negative's hardness, -log p(background), is also its class loss, so the sum of the largest
    hardnesses is the loss itself.
    """
    per_image = tf.reduce_sum(tf.cast(positive, tf.float32), axis=1)
    available = tf.reduce_sum(tf.cast(eligible, tf.float32), axis=1)
    wanted = tf.cast(tf.minimum(negative_ratio * per_image, available), tf.int32)
    hardness = tf.where(eligible, class_loss, 0.0)
    hardest, _ = tf.math.top_k(hardness, tf.reduce_max(wanted))
    kept = tf.range(tf.shape(hardest)[1])[None, :] < wanted[:, None]
    return tf.cast(tf.reduce_sum(wanted), tf.float32), tf.reduce_sum(tf.where(kept, hardest, 0.0))
