"""One training step, compiled, on one device or many."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ssdcore.model import SSD
from ssdcore.model.loss import multibox_loss
from ssdcore.params import Loss, TrainParams
from ssdcore.training.averages import WeightAverages
from ssdcore.training.optimizers import Update
from ssdcore.training.precision import LossScale
from ssdcore.types import Tensor

Batch = tuple[Tensor, Tensor, Tensor]
"""images (B, h, w, 3) float32 0..255; labels (B, A) int32; offsets (B, A, 4) float32."""

Step = Callable[[Batch, Tensor], Tensor]
LOSSES = ("loss", "class_loss", "positive_loss", "negative_loss", "box_loss", "l2_loss", "negatives")
REPORTED = (*LOSSES, "positives", "gradient_norm", "learning_rate")
METRICS = (*REPORTED, "non_finite", "stop", "save", "end_stage")
"""The metrics of a step: the numbers of metrics.csv; whether the step changed no weight because its loss or gradient
was NaN or infinite; and how many workers request to stop, to save, to end the stage."""


def make_step(
    ssd: SSD,
    params: TrainParams,
    update: Update,
    averages: WeightAverages | None,
    scale: LossScale | None,
    accumulate: int,
    strategy: Any,
) -> Step:
    """A compiled function that takes a training step on a global batch and returns its `METRICS`, (M,) float32.

    Besides the batch it takes this worker's requests to stop, to save and to end the stage, (3,)
    float32. The loss is divided by the positives of the global batch, whatever the number of
    devices and of parts.
    """
    variables = update.variables

    def part_gradients(part: Batch, positives: Tensor) -> tuple[list[Tensor], Tensor]:
        with tf.GradientTape() as tape:
            losses = _losses(ssd, params.loss, part, positives, accumulate * strategy.num_replicas_in_sync)
            target = losses[0] if scale is None else losses[0] * scale.value
        return tape.gradient(target, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO), losses

    def on_replica(batch: Batch, requests: Tensor) -> Tensor:
        positives = _sum_over_replicas(tf.reduce_sum(tf.cast(batch[1] > 0, tf.float32)))
        split = [tf.split(tensor, accumulate) if accumulate > 1 else [tensor] for tensor in batch]
        sums = _sum_of_parts(part_gradients, list(zip(*split, strict=True)), tf.maximum(positives, 1.0))
        # A tensor that replicas share cannot be summed; each takes a copy.
        gradients, losses, requests = _sum_over_replicas((*sums, tf.identity(requests)))
        if scale is not None:
            gradients = [gradient / scale.value for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(losses[0])
        if params.clip_norm is not None:
            shrink = params.clip_norm / tf.maximum(norm, params.clip_norm)
            gradients = [gradient * shrink for gradient in gradients]
        rate = update.apply(gradients, finite)
        non_finite, norm = (~finite, norm) if scale is None else scale.adapt(finite, norm, losses[0])
        if averages is not None:
            averages.update()
        return tf.concat([losses, [positives, norm, rate, tf.cast(non_finite, tf.float32)], requests], axis=0)

    @tf.function
    def step(batch: Batch, requests: Tensor) -> Tensor:
        return strategy.experimental_local_results(strategy.run(on_replica, args=(batch, requests)))[0]

    return step


def _losses(ssd: SSD, params: Loss, batch: Batch, positives: Tensor, parts: int) -> Tensor:
    """This part's summand of each of the `LOSSES`; those of all parts and replicas sum to the global value."""
    images, labels, offsets = batch
    outputs = ssd.network(images, training=True)
    sums = multibox_loss(outputs["logits"], outputs["offsets"], labels, offsets, params)
    on_positives, on_negatives = sums.positive_classes / positives, sums.negative_classes / positives
    boxes = params.box_weight * sums.boxes / positives
    l2 = tf.add_n([tf.zeros([]), *ssd.network.losses]) / parts
    classes = on_positives + on_negatives
    return tf.stack([classes + boxes + l2, classes, on_positives, on_negatives, boxes, l2, sums.negatives])


def _sum_of_parts(gradients_of: Any, parts: Sequence[Batch], positives: Tensor) -> tuple[list[Tensor], Tensor]:
    """Sums of gradients and losses, one part after the other so that memory holds one part only."""
    gradients, losses = gradients_of(parts[0], positives)
    for part in parts[1:]:
        with tf.control_dependencies([*gradients, losses]):
            more, further = gradients_of([tf.identity(tensor) for tensor in part], positives)
        gradients = [one + other for one, other in zip(gradients, more, strict=True)]
        losses += further
    return gradients, losses


def _sum_over_replicas(values: Any) -> Any:
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        # all_reduce registers a gradient function with TensorFlow for the life of the process, and with it the graph.
        return values
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)
