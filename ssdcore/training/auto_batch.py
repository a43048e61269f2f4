"""The largest batch that memory holds, found by trying small ones."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssdcore.errors import TrainingError
from ssdcore.model import SSD
from ssdcore.model.loss import multibox_loss
from ssdcore.model.variables import set_trainable
from ssdcore.params import ParamSet
from ssdcore.params.loss import Loss

SIZES, USUAL = (64, 32, 16, 8), 32
"""Images per device to choose from, and those that learning rates are meant for."""

SHARE = 0.6
"""Of the free memory that may be used."""

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MEMORY = Path("/proc/meminfo")
_UNTOLD = "this system does not tell how much memory is free or in use; set train.stages.N.batch_size yourself"


def resolve_auto_batch(
    params: ParamSet, ssd: SSD, replicas: int, agree: Callable[[int], int] = lambda size: size
) -> ParamSet:
    """The same parameters with numbers for `auto` batches, and rates in proportion to them.

    Args:
        params: what to settle.
        ssd: the detector; its weights are left as they are.
        replicas: devices that share a batch.
        agree: gives the least of the sizes per device that workers have found.

    Raises:
        TrainingError: memory use cannot be measured here, or does not hold a single image.
    """
    if all(stage.batch_size != "auto" for stage in params.train.stages):
        return params
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    # How much a GPU has left is not told; what does not fit there fails and can be caught.
    limit = math.inf if on_gpu else SHARE * free_memory()
    size = replicas * agree(largest_batch(_Trial(ssd, params.train.loss, on_gpu), limit))
    stages = [
        stage.model_copy(
            update={
                "batch_size": size,
                "learning_rate": stage.learning_rate.model_copy(
                    update={"learning_rate": stage.learning_rate.learning_rate * size / USUAL}
                ),
            }
        )
        if stage.batch_size == "auto"
        else stage
        for stage in params.train.stages
    ]
    return params.model_copy(update={"train": params.train.model_copy(update={"stages": tuple(stages)})})


def largest_batch(peak_of: Callable[[int], int | None], limit: float) -> int:
    """The largest of 64, 32, 16 and 8 whose use of memory stays within a limit.

    Args:
        peak_of: tries a step with so many images; gives the bytes it took, None if that was too much.
        limit: bytes.

    Raises:
        TrainingError: not even one image fits.
    """
    small, large = peak_of(2), peak_of(8)
    if small is None or large is None:
        raise TrainingError("memory does not hold a batch of 8 images; choose train.stages.N.batch_size yourself")
    each = max((large - small) / 6, 1.0)
    fitting = [size for size in SIZES if large + (size - 8) * each <= limit]
    if not fitting:
        raise TrainingError(
            f"a step takes about {each / 2**20:.0f} MiB for each image, {limit / 2**20:.0f} MiB may be used; choose "
            "train.stages.N.batch_size yourself, and a smaller model.image_size or accumulate if it does not fit"
        )
    return next(size for size in fitting if size == 8 or peak_of(size) is not None)


def free_memory() -> int:
    """Bytes that the machine can still give to programs.

    Raises:
        TrainingError: this system does not say.
    """
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
    except OSError:
        raise TrainingError(
            "this system does not tell how much memory is free; set train.stages.N.batch_size"
        ) from None
    return int(lines["MemAvailable"].split()[0]) * 1024


class _Trial:
    """Tries steps on images of noise, everything learning, and leaves the weights as they were."""

    def __init__(self, ssd: SSD, loss: Loss, on_gpu: bool) -> None:
        self._ssd, self._loss = ssd, loss
        self._on_gpu = on_gpu
        self._gradients = tf.function(self._gradients_of, reduce_retracing=True)

    def __call__(self, size: int) -> int | None:
        before = [variable.numpy() for variable in self._ssd.network.variables]
        set_trainable(self._ssd, "all")
        try:
            return self._peak(tf.random.uniform((size, *self._ssd.model.image_size, 3), maxval=255.0))
        except tf.errors.ResourceExhaustedError:
            return None
        finally:
            for variable, value in zip(self._ssd.network.variables, before, strict=True):
                variable.assign(value)  # batch statistics have moved

    def _peak(self, images: Any) -> int:
        if self._on_gpu:
            tf.config.experimental.reset_memory_stats("GPU:0")
            self._gradients(images)
            return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
        try:
            _RESET.write_text("5")  # begins to note the peak anew
            self._gradients(images)
            lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        except OSError:
            raise TrainingError(_UNTOLD) from None
        return int(lines["VmHWM"].split()[0]) * 1024

    def _gradients_of(self, images: Any) -> Any:
        """The gradient of a loss in which one default box in a hundred is an object."""
        variables = self._ssd.network.trainable_variables
        shape = (tf.shape(images)[0], len(self._ssd.default_boxes))
        labels = tf.broadcast_to(tf.cast(tf.range(shape[1]) % 100 == 0, tf.int32), shape)
        with tf.GradientTape() as tape:
            found = self._ssd.network(images, training=True)
            targets = tf.zeros_like(found["offsets"])
            sums = multibox_loss(found["logits"], found["offsets"], labels, targets, self._loss)
            loss = sums.positive_classes + sums.negative_classes + sums.boxes
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(loss, variables) if gradient is not None]
