"""The largest batch that fits into memory, extrapolated from trial steps on small ones."""

import math
from collections.abc import Callable
from typing import Any

import psutil
import tensorflow as tf

from ssdcore.errors import TrainingError
from ssdcore.model import SSD
from ssdcore.model.loss import multibox_loss
from ssdcore.model.variables import set_trainable
from ssdcore.params import ParamSet
from ssdcore.system.memory import PeakMemory

SIZES, REFERENCE_SIZE = (64, 32, 16, 8), 32
"""Images per device to choose from, and the batch size that learning rates are meant for."""

MEMORY_FRACTION = 0.6
"""Of the free memory that may be used."""


def resolve_auto_batch(
    params: ParamSet, ssd: SSD, replicas: int, agree: Callable[[int], int] = lambda size: size
) -> ParamSet:
    """The same parameters with `auto` batch sizes resolved, and learning rates in proportion to them.

    Args:
        params: with or without `auto` batch sizes.
        ssd: the detector; its weights are left as they are.
        replicas: devices that share a batch.
        agree: returns the least of all workers' sizes per device.

    Raises:
        TrainingError: memory does not hold the smallest batch.
    """
    if all(stage.batch_size != "auto" for stage in params.train.stages):
        return params
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    # TensorFlow does not report the free memory of a GPU; a batch that does not fit there fails and can be caught.
    limit = math.inf if on_gpu else MEMORY_FRACTION * free_memory()
    size = replicas * agree(largest_batch(_Trial(ssd, params, on_gpu), limit))
    stages = list(params.train.stages)
    for index, stage in enumerate(stages):
        if stage.batch_size == "auto":
            rate = stage.learning_rate.learning_rate * size / REFERENCE_SIZE
            schedule = stage.learning_rate.model_copy(update={"learning_rate": rate})
            stages[index] = stage.model_copy(update={"batch_size": size, "learning_rate": schedule})
    return params.model_copy(update={"train": params.train.model_copy(update={"stages": tuple(stages)})})


def largest_batch(peak_of: Callable[[int], int | None], limit: float) -> int:
    """The largest of 64, 32, 16 and 8 whose peak memory stays within a limit.

    Args:
        peak_of: tries a step with this many images; returns its peak memory in bytes, None if it did not fit.
        limit: bytes.

    Raises:
        TrainingError: not even 8 images fit.
    """
    small, large = peak_of(2), peak_of(8)
    if small is None or large is None:
        raise TrainingError("a batch of 8 images does not fit into memory; set train.stages.N.batch_size")
    each = max((large - small) / 6, 1.0)
    fitting = [size for size in SIZES if large + (size - 8) * each <= limit]
    if not fitting:
        raise TrainingError(
            f"a step takes about {each / 2**20:.0f} MiB per image, {limit / 2**20:.0f} MiB may be used; set "
            "train.stages.N.batch_size, and a smaller model.image_size or accumulate if it does not fit"
        )
    return next(size for size in fitting if size == 8 or peak_of(size) is not None)


def free_memory() -> int:
    """Bytes that the machine can still give to programs."""
    return int(psutil.virtual_memory().available)


class _Trial:
    """Tries steps on random images with everything trainable, and leaves the weights as they were."""

    def __init__(self, ssd: SSD, params: ParamSet, on_gpu: bool) -> None:
        self._ssd = ssd
        self._image_size, self._loss = params.model.image_size, params.train.loss
        self._on_gpu = on_gpu
        self._gradients = tf.function(self._gradients_of, reduce_retracing=True)

    def __call__(self, size: int) -> int | None:
        before = [variable.numpy() for variable in self._ssd.network.variables]
        set_trainable(self._ssd, "all")
        try:
            images = tf.random.uniform((size, *self._image_size, 3), maxval=255.0)
            if self._on_gpu:
                tf.config.experimental.reset_memory_stats("GPU:0")
                self._gradients(images)
                return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
            with PeakMemory() as memory:
                self._gradients(images)
            return memory.peak
        except tf.errors.ResourceExhaustedError:
            return None
        finally:
            for variable, value in zip(self._ssd.network.variables, before, strict=True):
                variable.assign(value)  # batch statistics have moved

    def _gradients_of(self, images: Any) -> Any:
        """The gradients of a loss in which one default box in a hundred is positive."""
        variables = self._ssd.network.trainable_variables
        shape = (tf.shape(images)[0], len(self._ssd.default_boxes))
        labels = tf.broadcast_to(tf.cast(tf.range(shape[1]) % 100 == 0, tf.int32), shape)
        with tf.GradientTape() as tape:
            outputs = self._ssd.network(images, training=True)
            targets = tf.zeros_like(outputs["offsets"])
            sums = multibox_loss(outputs["logits"], outputs["offsets"], labels, targets, self._loss)
            loss = sums.positive_classes + sums.negative_classes + sums.boxes
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(loss, variables) if gradient is not None]
