"""One training step, compiled, on one device or many."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ssdcore.model import SSD
from ssdcore.model.loss import multibox_loss

Tensor = Any
Batch = tuple[Tensor, Tensor, Tensor]
"""images (B, h, w, 3) float32 0..255; labels (B, A) int32; offsets (B, A, 4) float32."""

Step = Callable[[Batch], dict[str, Tensor]]
METRICS = ("loss", "class_loss", "box_loss", "l2_loss", "positives", "negatives", "gradient_norm")


def make_step(ssd: SSD, optimizer: Any, strategy: Any) -> Step:
    """A function that learns from one global batch and gives its `METRICS`, as float32 scalars.

    What is trainable is read from the layers now; make a new step after changing it. The loss is
    divided by the positives of the global batch, whatever the number of devices.
    """
    variables = ssd.network.trainable_variables
    optimizer.build(variables)

    def on_replica(images: Tensor, labels: Tensor, offsets: Tensor) -> dict[str, Tensor]:
        with tf.GradientTape() as tape:
            metrics = _losses(ssd, images, labels, offsets, strategy.num_replicas_in_sync)
        gradients = tape.gradient(metrics["loss"], variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        norm = tf.linalg.global_norm(_sum_over_replicas(gradients))
        limit = ssd.params.train.clip_norm
        scale = 1.0 if limit is None else limit / tf.maximum(norm, limit)
        optimizer.apply_gradients(zip([gradient * scale for gradient in gradients], variables, strict=True))
        return {**{name: _sum_over_replicas(value) for name, value in metrics.items()}, "gradient_norm": norm}

    @tf.function
    def step(batch: Batch) -> dict[str, Tensor]:
        metrics = strategy.run(on_replica, args=batch)
        return {name: strategy.experimental_local_results(value)[0] for name, value in metrics.items()}

    return step


def _losses(ssd: SSD, images: Tensor, labels: Tensor, offsets: Tensor, replicas: int) -> dict[str, Tensor]:
    """This replica's share of each loss; the shares of all replicas add up to the global value."""
    params = ssd.params.train.loss
    outputs = ssd.network(images, training=True)
    sums = multibox_loss(outputs["logits"], outputs["offsets"], labels, offsets, params.negative_ratio)
    normaliser = tf.maximum(_sum_over_replicas(sums.positives), 1.0)
    class_loss = sums.classes / normaliser
    box_loss = params.box_weight * sums.boxes / normaliser
    l2_loss = tf.add_n([tf.zeros([]), *ssd.network.losses]) / replicas
    return {
        "loss": class_loss + box_loss + l2_loss,
        "class_loss": class_loss,
        "box_loss": box_loss,
        "l2_loss": l2_loss,
        "positives": sums.positives,
        "negatives": sums.negatives,
    }


def _sum_over_replicas(values: Any) -> Any:
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
