"""`tf.data` pipelines for training and evaluation."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ssdcore.data.augment.chain import augment
from ssdcore.data.augment.windows import boxes_in_window
from ssdcore.data.order import WHOLE_BATCH, WorkerSlice, records_at
from ssdcore.data.records.index import UNDECODABLE, RecordIndex, one_line, read_at
from ssdcore.data.records.manifest import shard_paths
from ssdcore.data.records.record import EncodedImage, Record, decode, parse
from ssdcore.data.resize import frame_window, resize_image
from ssdcore.errors import DataError
from ssdcore.params import AugmentParams, DataParams, Resize
from ssdcore.params.class_names import IGNORED
from ssdcore.types import Tensor

Dataset = Any
EVAL_READ_AHEAD = 2
LOOKUP_BLOCK = 1024
"""Images of a training stream whose records are looked up together, as this calls Python."""


class TrainingExample(NamedTuple):
    """Network input and ground truth: image (h, w, 3) float32 0..255, boxes (N, 4), labels (N,).

    The label `IGNORED` marks a region that is neither object nor background.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor


class EvalBatch(NamedTuple):
    """Images to evaluate with their ground truth, padded.

    Attributes:
        images: (B, h, w, 3) float32 0..255.
        windows: (B, 4) float32 xyxy, the window of the original image that the network input shows.
        sizes: (B, 2) int64, height and width of the original images, px.
        boxes: (B, N, 4) float32 xyxy, normalised.
        labels: (B, N) int32, 1..C; 0 in padding.
        difficult: (B, N) bool; true for difficult objects and crowds.
    """

    images: Tensor
    windows: Tensor
    sizes: Tensor
    boxes: Tensor
    labels: Tensor
    difficult: Tensor


def read_records(folder: Path, split: str) -> Dataset:
    """The serialized records of a split, in the order of its shards.

    Raises:
        DataError: the folder, split or a shard is missing, or the split is empty.
    """
    return tf.data.TFRecordDataset([os.fsencode(path) for path in shard_paths(folder, split)])


def iterate(dataset: Dataset, folder: Path, split: str) -> Iterator[Any]:
    """Iterates over a dataset made from `read_records(folder, split)`.

    Raises:
        DataError: a record cannot be read or decoded.
    """
    try:
        yield from dataset
    except UNDECODABLE as error:
        raise DataError(
            f"the split {split!r} of {folder.absolute()} is damaged: {one_line(error)}; convert the data again"
        ) from None


def training_stream(
    index: RecordIndex,
    seed: Sequence[int],
    start: int,
    size: tuple[int, int],
    data: DataParams,
    augmentation: AugmentParams,
    worker_slice: WorkerSlice = WHOLE_BATCH,
    skip: Collection[int] = (),
) -> Dataset:
    """An endless stream of augmented `TrainingExample` images that can start anywhere, at no cost.

    Each epoch is shuffled anew, see `records_at`. What the n-th image is, and how it is augmented, depends
    only on `seed` and n: a stream started at n continues exactly as one started at 0, and the slices of
    several workers make up exactly the batches of a single one. Only the records of the slice are read.

    Args:
        index: the records.
        seed: two numbers.
        start: position in the whole stream, in images, to start at.
        size: height and width of the network input, px.
        data: treatment of difficult objects and crowds, resize mode, parallelism.
        augmentation: random changes.
        worker_slice: this worker's slice of each batch; all of it by default.
        skip: records that are replaced by others, see `records_at`.

    Raises:
        ParamError: a batch cannot be divided equally among the workers.
        DataError: all records are skipped.
    """
    draws = tf.constant(seed, tf.int32) + 1

    def prepare(number: Tensor, file: Tensor, offset: Tensor) -> TrainingExample:
        record = parse(read_at(file, offset))
        draw = tf.random.experimental.stateless_fold_in(draws, number)
        boxes, labels = _training_objects(record, data)
        image = EncodedImage(record["image"], record["size"])
        return TrainingExample(*augment(image, boxes, labels, draw, augmentation, size, data.resize))

    calls = data.parallel_calls or tf.data.AUTOTUNE
    return _locations(index, seed, start, worker_slice, skip).map(prepare, num_parallel_calls=calls)


def _locations(
    index: RecordIndex, seed: Sequence[int], start: int, worker_slice: WorkerSlice, skip: Collection[int]
) -> Dataset:
    """Position in the whole stream, file and offset of each image of a worker's slice."""
    skipped = frozenset(skip)
    records_at(len(index), seed, np.array([start]), skipped)  # raises here rather than inside the stream

    def block(first: Any) -> tuple[Any, ...]:
        positions = worker_slice.positions(first + np.arange(LOOKUP_BLOCK))
        return positions, *index.locate(records_at(len(index), seed, positions, skipped))

    def as_tensors(first: Tensor) -> tuple[Tensor, ...]:
        found = tf.numpy_function(block, [first], (tf.int64, tf.string, tf.int64), stateful=False)
        return tuple(tf.ensure_shape(part, [LOOKUP_BLOCK]) for part in found)

    firsts = tf.data.Dataset.range(worker_slice.taken_before(start), tf.int64.max, LOOKUP_BLOCK)
    return firsts.map(as_tensors).prefetch(1).unbatch()


def _training_objects(record: Record, data: DataParams) -> tuple[Tensor, Tensor]:
    """Boxes and labels of a record, with difficult objects and crowds treated as the parameters say."""
    labels, kept = record["labels"], tf.ones_like(record["difficult"])
    for marked, treatment in ((record["difficult"], data.difficult), (record["crowd"], data.crowd)):
        if treatment == "ignore":
            labels = tf.where(marked, IGNORED, labels)
        elif treatment == "drop":
            kept &= ~marked
    kept &= labels != 0  # an unlabelled region that is not ignored is background
    return tf.boolean_mask(record["boxes"], kept), tf.boolean_mask(labels, kept)


def training_boxes(records: Dataset, size: tuple[int, int], data: DataParams) -> Dataset:
    """Ground-truth boxes (N, 4), normalised xyxy in the network input, and labels (N,) as used in training.

    Without augmentation; images are not decoded. See `training_stream` for the arguments.
    """

    def objects(serialized: Tensor) -> tuple[Tensor, Tensor]:
        record = parse(serialized)
        boxes, labels = _training_objects(record, data)
        window = frame_window(record["size"], size, data.resize)
        return boxes_in_window(boxes[labels > 0], labels[labels > 0], window, None)

    return records.map(objects, num_parallel_calls=tf.data.AUTOTUNE)


def evaluation_batches(records: Dataset, size: tuple[int, int], resize: Resize, batch_size: int) -> Dataset:
    """`EvalBatch`es of all records, each image once, resized to `size` (height, width)."""

    def prepare(serialized: Tensor) -> EvalBatch:
        record: Record = parse(serialized)
        image, window = resize_image(decode(record["image"]), size, resize)
        return EvalBatch(
            images=image,
            windows=window,
            sizes=record["size"],
            boxes=record["boxes"],
            labels=record["labels"],
            difficult=record["difficult"] | record["crowd"],
        )

    batches = records.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).padded_batch(batch_size)
    return batches.prefetch(EVAL_READ_AHEAD)
