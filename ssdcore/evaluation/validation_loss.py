"""The validation loss."""

from pathlib import Path

import tensorflow as tf

from ssdcore.data.augment.windows import boxes_in_window
from ssdcore.data.pipeline import EvalBatch, evaluation_batches, iterate, read_records
from ssdcore.data.records.manifest import Manifest
from ssdcore.model import SSD
from ssdcore.model.loss import multibox_loss
from ssdcore.model.targets import encode_targets
from ssdcore.params.class_names import IGNORED
from ssdcore.params.loss import Loss
from ssdcore.types import OnProgress, Tensor


class ValidationLoss:
    """The MultiBox loss, without L2, over a split: its sum divided by the number of matched default boxes.

    Difficult objects count neither as objects nor as background.
    """

    def __init__(self, ssd: SSD, params: Loss, folder: Path, split: str, batch_size: int) -> None:
        self._ssd, self._params = ssd, params
        self._images = Manifest.load(folder).split(split).images
        records = read_records(folder, split)
        self._batches = evaluation_batches(records, ssd.model.image_size, ssd.resize, batch_size)
        self._source = (folder, split)
        self._sums = tf.function(self._sums_of, reduce_retracing=True)

    def mean(self, on_batch: OnProgress) -> float:
        """The loss with the present weights; `on_batch` is called with images done and their total."""
        total, positives, done = 0.0, 0.0, 0
        for batch in iterate(self._batches, *self._source):
            loss, matched = self._sums(batch)
            total, positives = total + float(loss), positives + float(matched)
            done += len(batch.images)
            on_batch(done, self._images)
        return total / max(positives, 1.0)

    def _sums_of(self, batch: EvalBatch) -> tuple[Tensor, Tensor]:
        params = self._params
        default_boxes = tf.constant(self._ssd.default_boxes)

        def targets(one: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            boxes, labels, difficult, window = one
            real = labels > 0
            labels = tf.where(difficult, IGNORED, labels)[real]
            boxes, labels = boxes_in_window(boxes[real], labels, window, None)
            return encode_targets(boxes, labels, default_boxes, params.match_iou, self._ssd.model.variances)

        labels, offsets = tf.map_fn(
            targets,
            (batch.boxes, batch.labels, batch.difficult, batch.windows),
            fn_output_signature=(tf.int32, tf.float32),
        )
        outputs = self._ssd.network(batch.images, training=False)
        sums = multibox_loss(outputs["logits"], outputs["offsets"], labels, offsets, params)
        loss = sums.positive_classes + sums.negative_classes + params.box_weight * sums.boxes
        return loss, sums.positives
