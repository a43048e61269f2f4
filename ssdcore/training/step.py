"""One training step, compiled, on one device or many."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ssdcore.model import SSD
from ssdcore.model.loss import multibox_loss
from ssdcore.training.averages import WeightAverages
from ssdcore.training.loss_scale import LossScale
from ssdcore.training.update import Update

Tensor = Any
Batch = tuple[Tensor, Tensor, Tensor]
"""images (B, h, w, 3) float32 0..255; labels (B, A) int32; offsets (B, A, 4) float32."""

Step = Callable[[Batch, Tensor], Tensor]
LOSSES = ("loss", "class_loss", "positive_loss", "negative_loss", "box_loss", "l2_loss", "negatives")
REPORTED = (*LOSSES, "positives", "gradient_norm", "learning_rate")
METRICS = (*REPORTED, "fault", "stop", "save", "end_stage")
"""What a step reports: the numbers of metrics.csv; whether the step was left out for a loss or
gradient that is no number; and how many workers ask to stop, to save, to end the stage."""


def make_step(
    ssd: SSD, update: Update, averages: WeightAverages | None, scale: LossScale | None, accumulate: int, strategy: Any
) -> Step:
    """A function that learns from one global batch and gives its `METRICS`, (M,) float32.

    Besides the batch it takes this worker's wishes to stop, to save and to end the stage, (3,)
    float32. The loss is divided by the positives of the global batch, whatever the number of
    devices and of parts.
    """
    variables = update.variables

    def part_gradients(part: Batch, positives: Tensor) -> tuple[list[Tensor], Tensor]:
        with tf.GradientTape() as tape:
            losses = _losses(ssd, part, positives, accumulate * strategy.num_replicas_in_sync)
            target = losses[0] if scale is None else losses[0] * scale.value
        return tape.gradient(target, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO), losses

    def on_replica(batch: Batch, wishes: Tensor) -> Tensor:
        positives = _sum_over_replicas(tf.reduce_sum(tf.cast(batch[1] > 0, tf.float32)))
        found = _sum_of_parts(part_gradients, _parts(batch, accumulate), tf.maximum(positives, 1.0))
        # A tensor that all replicas have in common cannot be added up; each takes a copy.
        gradients, losses, wishes = _sum_over_replicas((*found, tf.identity(wishes)))
        if scale is not None:
            gradients = [gradient / scale.value for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(losses[0])
        rate = update.apply(_clipped(gradients, norm, ssd.params.train.clip_norm), finite)
        fault, norm = (~finite, norm) if scale is None else scale.adapt(finite, norm, losses[0])
        if averages is not None:
            averages.follow()
        return tf.concat([losses, [positives, norm, rate, tf.cast(fault, tf.float32)], wishes], axis=0)

    @tf.function
    def step(batch: Batch, wishes: Tensor) -> Tensor:
        return strategy.experimental_local_results(strategy.run(on_replica, args=(batch, wishes)))[0]

    return step


def _losses(ssd: SSD, batch: Batch, positives: Tensor, shares: int) -> Tensor:
    """This part's share of each of the `LOSSES`; the shares of all parts and replicas add up to the global value."""
    images, labels, offsets = batch
    params = ssd.params.train.loss
    outputs = ssd.network(images, training=True)
    sums = multibox_loss(outputs["logits"], outputs["offsets"], labels, offsets, params)
    on_objects, on_background = sums.positive_classes / positives, sums.negative_classes / positives
    boxes = params.box_weight * sums.boxes / positives
    l2 = tf.add_n([tf.zeros([]), *ssd.network.losses]) / shares
    classes = on_objects + on_background
    return tf.stack([classes + boxes + l2, classes, on_objects, on_background, boxes, l2, sums.negatives])


def _parts(batch: Batch, count: int) -> list[Batch]:
    """The batch in equal parts."""
    split = [tf.split(tensor, count) if count > 1 else [tensor] for tensor in batch]
    return list(zip(*split, strict=True))


def _sum_of_parts(gradients_of: Any, parts: Sequence[Batch], positives: Tensor) -> tuple[list[Tensor], Tensor]:
    """Gradients and losses added up, one part after the other: at no time are two in memory."""
    gradients, losses = gradients_of(parts[0], positives)
    for part in parts[1:]:
        with tf.control_dependencies([*gradients, losses]):
            more, further = gradients_of([tf.identity(tensor) for tensor in part], positives)
        gradients = [one + other for one, other in zip(gradients, more, strict=True)]
        losses += further
    return gradients, losses


def _clipped(gradients: list[Tensor], norm: Tensor, limit: float | None) -> list[Tensor]:
    if limit is None:
        return gradients
    return [gradient * (limit / tf.maximum(norm, limit)) for gradient in gradients]


def _sum_over_replicas(values: Any) -> Any:
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        # all_reduce registers a gradient function with TensorFlow for the life of the process, and with it the graph.
        return values
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)
