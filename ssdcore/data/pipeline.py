"""`tf.data` streams of batches, for training and for evaluation."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ssdcore.data.augment.geometric import augment, boxes_in_window
from ssdcore.data.order import Share, records_at
from ssdcore.data.records.index import RecordIndex, read_at, shard_paths
from ssdcore.data.records.record import EncodedImage, Record, decode, parse
from ssdcore.data.records.undecodable import UNDECODABLE, one_line
from ssdcore.data.resize import fit, frame_window
from ssdcore.errors import DataError
from ssdcore.params import AugmentParams, DataParams, Resize
from ssdcore.params.class_names import IGNORED

Tensor = Any
Dataset = Any
EVAL_READ_AHEAD = 2
PLACES_AT_ONCE = 1024
"""Images of a training stream that are looked up together, as Python is called for it."""


class Labelled(NamedTuple):
    """An image ready for the network: image (h, w, 3) float32 0..255, boxes (N, 4), labels (N,).

    The label `IGNORED` marks a region that is neither an object nor background.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor


class EvalBatch(NamedTuple):
    """Images to evaluate with their ground truth, padded.

    Attributes:
        images: (B, h, w, 3) float32 0..255.
        windows: (B, 4) float32 xyxy, the part of each image's plane that the image shows.
        sizes: (B, 2) int64, height and width of the original images, px.
        boxes: (B, N, 4) float32 xyxy, normalised.
        labels: (B, N) int32, 1..C; 0 in padding.
        difficult: (B, N) bool; true for difficult objects and for groups.
    """

    images: Tensor
    windows: Tensor
    sizes: Tensor
    boxes: Tensor
    labels: Tensor
    difficult: Tensor


def read_records(folder: Path, split: str) -> Dataset:
    """The serialized records of a split, in a fixed order.

    Raises:
        DataError: the folder, split or a shard is missing, or the split is empty.
    """
    return tf.data.TFRecordDataset([os.fsencode(path) for path in shard_paths(folder, split)])


def whole(dataset: Dataset, folder: Path, split: str) -> Iterator[Any]:
    """The elements of a dataset made from `read_records(folder, split)`.

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
    share: Share = Share(),  # noqa: B008
    skip: Collection[int] = (),
) -> Dataset:
    """An endless stream of augmented `Labelled` images that can start anywhere, at no cost.

    Each pass over the records is shuffled anew, as `records_at` says. What the n-th image is, and how it
    is augmented, depends on `seed` and n only: a stream begun at n goes on exactly as one begun at 0, and
    the shares of several workers make up exactly the batches of a single one. Only what is given is read.

    Args:
        index: the records.
        seed: two numbers.
        start: number of images of the whole stream to leave out.
        size: height and width of the network input, px.
        data: treatment of objects, and parallelism.
        augmentation: random changes.
        share: the part of each batch that is given; all of it by default.
        skip: records that are replaced by others, see `records_at`.

    Raises:
        ParamError: a batch cannot be divided equally among the workers.
        DataError: all records are to be skipped.
    """
    draws = tf.constant(seed, tf.int32) + 1

    def prepare(number: Tensor, file: Tensor, offset: Tensor) -> Labelled:
        record = parse(read_at(file, offset))
        draw = tf.random.experimental.stateless_fold_in(draws, number)
        boxes, labels = _objects_to_learn(record, data)
        image = EncodedImage(record["image"], record["size"])
        return Labelled(*augment(image, boxes, labels, draw, augmentation, size, data.resize))

    calls = data.parallel_calls or tf.data.AUTOTUNE
    return _places(index, seed, start, share, skip).map(prepare, num_parallel_calls=calls)


def _places(index: RecordIndex, seed: Sequence[int], start: int, share: Share, skip: Collection[int]) -> Dataset:
    """Position in the whole stream, file and offset of each image of a share."""
    skipped = frozenset(skip)
    records_at(len(index), seed, np.array([start]), skipped)  # raises here rather than inside the stream

    def block(first: Any) -> tuple[Any, ...]:
        positions = share.positions(first + np.arange(PLACES_AT_ONCE))
        return positions, *index.places(records_at(len(index), seed, positions, skipped))

    def as_tensors(first: Tensor) -> tuple[Tensor, ...]:
        found = tf.numpy_function(block, [first], (tf.int64, tf.string, tf.int64), stateful=False)
        return tuple(tf.ensure_shape(part, [PLACES_AT_ONCE]) for part in found)

    firsts = tf.data.Dataset.range(share.taken_before(start), tf.int64.max, PLACES_AT_ONCE)
    return firsts.map(as_tensors).prefetch(1).unbatch()


def _objects_to_learn(record: Record, data: DataParams) -> tuple[Tensor, Tensor]:
    """Boxes and labels of a record, as the parameters treat difficult objects and groups."""
    labels, kept = record["labels"], tf.ones_like(record["difficult"])
    for marked, treatment in ((record["difficult"], data.difficult), (record["crowd"], data.crowd)):
        if treatment == "ignore":
            labels = tf.where(marked, IGNORED, labels)
        elif treatment == "drop":
            kept &= ~marked
    kept &= labels != 0  # a region without labels that is not ignored is background
    return tf.boolean_mask(record["boxes"], kept), tf.boolean_mask(labels, kept)


def training_boxes(records: Dataset, size: tuple[int, int], data: DataParams) -> Dataset:
    """Boxes (N, 4) as the network sees them, normalised, and labels (N,) of the objects that are learnt.

    Images are not decoded; see `training_stream` for the arguments.
    """

    def objects(serialized: Tensor) -> tuple[Tensor, Tensor]:
        record = parse(serialized)
        boxes, labels = _objects_to_learn(record, data)
        window = frame_window(record["size"], size, data.resize)
        return boxes_in_window(boxes[labels > 0], labels[labels > 0], window, None)

    return records.map(objects, num_parallel_calls=tf.data.AUTOTUNE)


def evaluation_batches(records: Dataset, size: tuple[int, int], resize: Resize, batch_size: int) -> Dataset:
    """`EvalBatch`es of all records, each image once, fitted to `size` (height, width)."""

    def prepare(serialized: Tensor) -> EvalBatch:
        record: Record = parse(serialized)
        image, window = fit(decode(record["image"]), size, resize)
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
