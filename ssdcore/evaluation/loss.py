"""The training loss on images that are not learnt from."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from ssdcore.data.augment.geometric import boxes_in_window
from ssdcore.data.pipeline import EvalBatch, evaluation_batches, read_records, whole
from ssdcore.data.records.manifest import Manifest
from ssdcore.evaluation.evaluate import OnBatch
from ssdcore.model import SSD
from ssdcore.model.loss import multibox_loss
from ssdcore.model.targets import encode_targets
from ssdcore.params.class_names import IGNORED
from ssdcore.params.loss import Loss


class EvaluationLoss:
    """The MultiBox loss, without L2, over a split: its sum divided by the matched default boxes.

    Difficult objects are neither objects nor background.
    """

    def __init__(self, ssd: SSD, params: Loss, folder: Path, split: str, batch_size: int) -> None:
        self._ssd, self._params = ssd, params
        self._images = Manifest.load(folder).split(split).images
        batches = evaluation_batches(read_records(folder, split), ssd.model.image_size, ssd.resize, batch_size)
        self._batches = batches
        self._where = (folder, split)
        self._sums = tf.function(self._sums_of, reduce_retracing=True)

    def mean(self, on_batch: OnBatch) -> float:
        """The loss with the weights that the detector has now."""
        total = positives = 0.0
        done = 0
        for batch in whole(self._batches, *self._where):
            loss, matched = self._sums(batch)
            total, positives = total + float(loss), positives + float(matched)
            done += len(batch.images)
            on_batch(done, self._images)
        return total / max(positives, 1.0)

    def _sums_of(self, batch: EvalBatch) -> tuple[Any, Any]:
        params = self._params
        default_boxes = tf.constant(self._ssd.default_boxes)

        def targets(one: tuple[Any, Any, Any, Any]) -> tuple[Any, Any]:
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
        boxes = params.box_weight * sums.boxes
        return sums.positive_classes + sums.negative_classes + boxes, sums.positives
