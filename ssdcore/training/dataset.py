"""The batches of a stage, from any of its steps on, for the devices of this process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssdcore.data.order import WorkerSlice, records_at
from ssdcore.data.pipeline import TrainingExample, training_stream
from ssdcore.data.records.index import UNDECODABLE, RecordIndex, find_undecodable
from ssdcore.data.records.manifest import Manifest
from ssdcore.errors import DataError, TrainingWarning
from ssdcore.model import SSD
from ssdcore.model.targets import encode_targets
from ssdcore.params import ParamSet, Stage
from ssdcore.training.augmentation_images import augmentation_stages
from ssdcore.training.callback import TrainingCallback
from ssdcore.training.distributed.devices import worker_count, worker_index
from ssdcore.training.state import TrainingState, batch_size

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
        self._default_boxes, self._params, self._folder = ssd.default_boxes, params, folder
        self._strategy, self._callback = strategy, callback
        self._index = RecordIndex.of_split(folder, Manifest.load(folder).train_split(params.data.train_split))
        self._skip: set[int] = set()
        self.images = len(self._index)

    def batches(self, stage: Stage, state: TrainingState, total: int) -> Iterator[tuple[Any, Any, Any]]:
        """The batches left of a stage of `total` steps, from `state` on.

        Images that cannot be decoded are reported to the callback and left out: the next image of
        the split takes their place.

        Raises:
            DataError: there are more of those than the parameters allow.
        """
        step = state.stage_step
        while step < total:
            iterator = iter(self._distributed(stage, state.stage, step, total - step))
            try:
                for batch in iterator:
                    step += 1
                    yield tuple(batch)
            except UNDECODABLE as error:
                self._leave_out_undecodable(error, stage, state, step)

    def names(self, stage: Stage, number: int, step: int) -> list[str]:
        """Names of the images in the batch of a stage's step, 0 for its first."""
        return [self._index.name(record) for record in self._records(stage, number, step)]

    def leave_out(self, state: TrainingState) -> None:
        """Leaves out the images that `state` lists, and adds to its list those left out since."""
        self._skip |= set(state.left_out)
        state.left_out, state.undecodable = sorted(self._skip), len(self._skip)

    def augmented(self, number: int) -> dict[str, Any]:
        """Images of a stage after each part of the augmentation; see `augmentation_stages`."""
        records = range(min(self._params.train.augmentation_images, self.images))
        return augmentation_stages([self._index.read(record) for record in records], self._params, number)

    def _records(self, stage: Stage, number: int, step: int) -> list[int]:
        size = batch_size(stage)
        positions = np.arange(step * size, (step + 1) * size, dtype=np.int64)
        seed = self._params.train.seed, number
        return [int(record) for record in records_at(self.images, seed, positions, self._skip)]

    def _distributed(self, stage: Stage, number: int, step: int, count: int) -> Any:
        size = batch_size(stage)
        part = WorkerSlice(size, worker_index(self._strategy), worker_count(self._strategy))
        replicas = self._strategy.num_replicas_in_sync
        params = self._params
        default_boxes = tf.constant(self._default_boxes)

        def with_targets(image: TrainingExample) -> tuple[Any, Any, Any]:
            labels, offsets = encode_targets(
                image.boxes, image.labels, default_boxes, params.train.loss.match_iou, params.model.variances
            )
            return image.image, labels, offsets

        def of_this_worker(context: Any) -> Any:
            stream = training_stream(
                self._index,
                (params.train.seed, number),
                step * size,
                params.model.image_size,
                params.data,
                params.augment,
                part,
                self._skip,
            )
            calls = params.data.parallel_calls or tf.data.AUTOTUNE
            batches = stream.map(with_targets, num_parallel_calls=calls).batch(size // replicas, drop_remainder=True)
            return batches.take(count * replicas // part.workers).prefetch(READ_AHEAD * replicas // part.workers)

        return self._strategy.distribute_datasets_from_function(of_this_worker)

    def _leave_out_undecodable(self, error: tf.errors.OpError, stage: Stage, state: TrainingState, step: int) -> None:
        """Leaves out the undecodable images of a step's batch."""
        undecodable = find_undecodable(self._index, self._records(stage, state.stage, step))
        if not undecodable:
            raise error
        self._skip |= {image.number for image in undecodable}
        named = "; ".join(f"{image.name}: {image.reason}" for image in undecodable)
        limit = self._params.data.max_undecodable
        if len(self._skip) > limit:
            raise DataError(
                f"{len(self._skip)} images of {self._folder.absolute()} cannot be decoded, data.max_undecodable is "
                f"{limit}; the latest: {named}; convert the data again"
            )
        self.leave_out(state)
        self._callback.on_warning(
            TrainingWarning(f"left out, cannot be decoded ({len(self._skip)} of at most {limit}): {named}")
        )
