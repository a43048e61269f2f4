"""The MultiBox loss (paper, section 2.2; Caffe's MultiBoxLoss): mined negatives, or the focal loss of all."""

from typing import NamedTuple

import tensorflow as tf

from ssdcore.params import Focal, Loss
from ssdcore.types import Tensor

# Far below the resolution of 1 - p in float32; keeps the gradient of the power finite where p rounds to 1.
_LEAST_MISS = 1e-30


class MultiBoxLoss(NamedTuple):
    """Sums over a batch, before division by the number of positives; all float32 scalars.

    Attributes:
        positive_classes: class loss of the positives.
        negative_classes: class loss of the negatives.
        boxes: smooth-L1 of the positives' offsets.
        positives: number of matched default boxes.
        negatives: number of mined ones; with the focal loss, of all background ones.
    """

    positive_classes: Tensor
    negative_classes: Tensor
    boxes: Tensor
    positives: Tensor
    negatives: Tensor


def multibox_loss(
    logits: Tensor, offsets: Tensor, labels: Tensor, target_offsets: Tensor, params: Loss
) -> MultiBoxLoss:
    """Loss sums of a batch.

    The class loss is the softmax cross-entropy of the positives and of those unmatched default
    boxes that look least like background: `negative_ratio` for each positive and at least
    `min_negatives`, in each image or, with `mining` "batch", in all images together. Of equally
    hard ones the first is taken. With `label_smoothing` x the targets are (1-x)·onehot + x/(C+1),
    for positives and mined negatives alike; mining goes by -log p(background) nevertheless. With
    `focal` all default boxes count.

    Args:
        logits: (B, A, C+1) float32.
        offsets: (B, A, 4) float32, predicted.
        labels: (B, A) int32; 0 is background; -1 is left out.
        target_offsets: (B, A, 4) float32; read only where `labels` is above 0.
        params: of the loss; `match_iou` and `box_weight` are not used here.
    """
    positive, background = labels > 0, labels == 0
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
    if params.focal is None:
        class_loss, smoothing = cross_entropy, params.label_smoothing
        if smoothing:
            even = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
            class_loss = (1 - smoothing) * cross_entropy + smoothing * even
        negative_classes, negatives = _mine(class_loss, cross_entropy, positive, background, params)
    else:
        class_loss = _focal(cross_entropy, positive, params.focal)
        negative_classes, negatives = _sum_where(background, class_loss), _count(background)
    # Chosen before the subtraction, so that nothing of an unmatched target reaches the gradient.
    error = tf.where(positive[..., None], offsets - target_offsets, 0.0)
    return MultiBoxLoss(
        positive_classes=_sum_where(positive, class_loss),
        negative_classes=negative_classes,
        boxes=tf.reduce_sum(smooth_l1(error)),
        positives=_count(positive),
        negatives=negatives,
    )


def smooth_l1(x: Tensor) -> Tensor:
    """x²/2 where |x| < 1, else |x| - 1/2 (Fast R-CNN, equation 3)."""
    absolute = tf.abs(x)
    return tf.where(absolute < 1, 0.5 * tf.square(x), absolute - 0.5)


def _focal(cross_entropy: Tensor, positive: Tensor, focal: Focal) -> Tensor:
    """-α (1-p)^γ log p of each default box's own class (equation 5), (B, A)."""
    miss = tf.maximum(-tf.math.expm1(-cross_entropy), _LEAST_MISS)
    return tf.where(positive, focal.alpha, 1 - focal.alpha) * miss**focal.gamma * cross_entropy


def _mine(
    class_loss: Tensor, hardness: Tensor, positive: Tensor, background: Tensor, params: Loss
) -> tuple[Tensor, Tensor]:
    """Summed class loss and number of the hardest negatives; all arguments are (B, A)."""
    images = 1
    if params.mining == "batch":
        images = tf.shape(hardness)[0]
        class_loss, hardness, positive, background = (
            tf.reshape(part, [1, -1]) for part in (class_loss, hardness, positive, background)
        )
    wanted = tf.maximum(
        params.negative_ratio * _count(positive, axis=1), tf.cast(params.min_negatives * images, tf.float32)
    )
    wanted = tf.cast(tf.minimum(wanted, _count(background, axis=1)), tf.int32)
    most = tf.maximum(tf.reduce_max(wanted), 0)  # 0 on a device that got no images
    # No hardness is below 0, so what is no background comes last and is never wanted.
    _, hardest = tf.math.top_k(tf.where(background, hardness, -1.0), most)
    kept = tf.range(tf.shape(hardest)[1]) < wanted[:, None]
    losses = tf.gather(class_loss, hardest, batch_dims=1)
    return _sum_where(kept, losses), tf.cast(tf.reduce_sum(wanted), tf.float32)


def _sum_where(mask: Tensor, values: Tensor) -> Tensor:
    return tf.reduce_sum(tf.where(mask, values, 0.0))


def _count(mask: Tensor, axis: int | None = None) -> Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.float32), axis=axis)
