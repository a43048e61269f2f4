"""The batches of a stage, from anywhere in it, for this process's devices."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssdcore.data.order import Share, records_at
from ssdcore.data.pipeline import Labelled, training_stream
from ssdcore.data.records.index import RecordIndex
from ssdcore.data.records.manifest import Manifest
from ssdcore.data.records.undecodable import UNDECODABLE, find_undecodable
from ssdcore.errors import DataError
from ssdcore.model import SSD
from ssdcore.model.targets import encode_targets
from ssdcore.params import ParamSet, Stage
from ssdcore.training.augmentation_images import augmentation_stages
from ssdcore.training.callback import TrainingCallback
from ssdcore.training.distributed.devices import worker_count, worker_index
from ssdcore.training.progress import Progress, batch_size

READ_AHEAD = 2


class TrainingDataset:
    """Batches of (images, labels, offsets) of a split, in the order that the seed gives.

    Attributes:
        images: images in the split.
    """

    def __init__(self, ssd: SSD, params: ParamSet, folder: Path, strategy: Any, callback: TrainingCallback) -> None:
        """Opens the training split.

        Raises:
            DataError: it is missing, empty or damaged.
        """
        self._ssd, self._params = ssd, params
        self._folder = folder
        self._strategy = strategy
        self._listener = callback
        self._split = Manifest.load(folder).train_split(params.data.train_split)
        self._index = RecordIndex.of_split(folder, self._split)
        self._skip: set[int] = set()
        self.images = len(self._index)

    def batches(self, stage: Stage, progress: Progress, total: int) -> Iterator[tuple[Any, Any, Any]]:
        """What is left of a stage of `total` steps, from where `progress` stands.

        Images that cannot be decoded are named to the callback and left out: the next image of
        the split takes their place.

        Raises:
            DataError: there are more of those than the parameters allow.
        """
        step = progress.stage_step
        while step < total:
            iterator = iter(self._distributed(stage, progress.stage, step, total - step))
            try:
                for batch in iterator:
                    step += 1
                    yield tuple(batch)
            except UNDECODABLE as error:
                self._find_and_leave_out(error, stage, progress, step)

    def names(self, stage: Stage, number: int, step: int) -> list[str]:
        """The images of the batch of a stage's step, 0 for its first."""
        return [self._index.name(record) for record in self._records(stage, number, step)]

    def leave_out(self, progress: Progress) -> None:
        """Leaves out what was left out when a checkpoint was made; and notes what has been since then."""
        self._skip |= set(progress.left_out)
        progress.left_out, progress.undecodable = sorted(self._skip), len(self._skip)

    def augmented(self, number: int) -> dict[str, Any]:
        """Images of a stage as each part of the augmentation leaves them; see `augmentation_stages`."""
        params = self._params
        records = range(min(params.train.augmentation_images, self.images))
        return augmentation_stages([self._index.read(record) for record in records], params, number)

    def _seed(self, number: int) -> tuple[int, int]:
        return self._params.train.seed, number

    def _records(self, stage: Stage, number: int, step: int) -> list[int]:
        size = batch_size(stage)
        places = np.arange(step * size, (step + 1) * size, dtype=np.int64)
        return [int(record) for record in records_at(self.images, self._seed(number), places, self._skip)]

    def _distributed(self, stage: Stage, number: int, step: int, count: int) -> Any:
        size = batch_size(stage)
        share = Share(size, worker_index(self._strategy), worker_count(self._strategy))
        replicas = self._strategy.num_replicas_in_sync
        params = self._params
        default_boxes = tf.constant(self._ssd.default_boxes)

        def with_targets(image: Labelled) -> tuple[Any, Any, Any]:
            labels, offsets = encode_targets(
                image.boxes, image.labels, default_boxes, params.train.loss.match_iou, self._ssd.model.variances
            )
            return image.image, labels, offsets

        def of_this_worker(context: Any) -> Any:
            stream = training_stream(
                self._index,
                self._seed(number),
                step * size,
                params.model.image_size,
                params.data,
                params.augment,
                share,
                self._skip,
            )
            calls = params.data.parallel_calls or tf.data.AUTOTUNE
            batches = stream.map(with_targets, num_parallel_calls=calls).batch(size // replicas, drop_remainder=True)
            return batches.take(count * replicas // share.workers).prefetch(READ_AHEAD * replicas // share.workers)

        return self._strategy.distribute_datasets_from_function(of_this_worker)

    def _find_and_leave_out(self, error: tf.errors.OpError, stage: Stage, progress: Progress, step: int) -> None:
        """Puts the undecodable images of a step's batch aside."""
        found = find_undecodable(self._index, self._records(stage, progress.stage, step))
        if not found:
            raise error
        self._skip |= {image.number for image in found}
        named = "; ".join(f"{image.name}: {image.reason}" for image in found)
        limit = self._params.data.max_undecodable
        if len(self._skip) > limit:
            raise DataError(
                f"{len(self._skip)} images of {self._folder.absolute()} cannot be decoded, data.max_undecodable is "
                f"{limit}; the latest: {named}; convert the data again"
            )
        self.leave_out(progress)
        self._listener.on_warning(f"left out, cannot be decoded ({len(self._skip)} of at most {limit}): {named}")
