"""`tf.data` streams of batches, for training and for evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from ssdcore.class_names import IGNORED
from ssdcore.data.augment import augment, boxes_in_window
from ssdcore.data.fit import fit, frame_window
from ssdcore.data.manifest import Manifest
from ssdcore.data.records import EncodedPicture, Record, decode, parse
from ssdcore.errors import DataError
from ssdcore.params import AugmentParams, DataParams, Resize

Tensor = Any
Dataset = Any
EVAL_READ_AHEAD = 2


class Labelled(NamedTuple):
    """A picture ready for the network: image (h, w, 3) float32 0..255, boxes (N, 4), labels (N,).

    The label `IGNORED` marks a region that is neither an object nor background.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor


class EvalBatch(NamedTuple):
    """Pictures to evaluate with their ground truth, padded.

    Attributes:
        images: (B, h, w, 3) float32 0..255.
        windows: (B, 4) float32 xyxy, the part of each picture's plane that the image shows.
        sizes: (B, 2) int64, height and width of the original pictures, px.
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
    entry = Manifest.load(folder).split(split)
    paths = [folder / shard for shard in entry.shards]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0].absolute()} is missing; convert the data again")
    for path, size in zip(paths, entry.sizes, strict=True):
        if path.stat().st_size != size:
            found = path.stat().st_size
            raise DataError(f"{path.absolute()} has {found} bytes, it was written with {size}; convert the data again")
    if entry.images == 0:
        raise DataError(f"the split {split!r} of {folder.absolute()} holds no pictures")
    return tf.data.TFRecordDataset([str(path) for path in paths])


def training_stream(
    records: Dataset,
    count: int,
    seed: Sequence[int],
    start: int,
    size: tuple[int, int],
    data: DataParams,
    augmentation: AugmentParams,
) -> Dataset:
    """An endless stream of augmented `Labelled` pictures that can start anywhere.

    Each pass over the records is shuffled anew. What the n-th picture is, and how it is augmented,
    depends on `seed` and n only, so a stream begun at n goes on exactly as one begun at 0.

    Args:
        records: serialized records.
        count: their number.
        seed: two numbers.
        start: number of pictures to leave out.
        size: height and width of the network input, px.
        data: shuffling and parallelism.
        augmentation: random changes.
    """
    base = tf.constant(seed, tf.int32)

    def one_pass(epoch: Tensor) -> Dataset:
        draw = tf.random.experimental.stateless_fold_in(base, epoch)
        order = tf.random.stateless_uniform([], draw, maxval=2**31 - 1, dtype=tf.int32)
        shuffled = records.shuffle(data.shuffle_buffer, seed=tf.cast(order, tf.int64))
        return tf.data.Dataset.zip((shuffled, tf.data.Dataset.range(epoch * count, (epoch + 1) * count)))

    def prepare(serialized: Tensor, number: Tensor) -> Labelled:
        record = parse(serialized)
        draw = tf.random.experimental.stateless_fold_in(base + 1, number)
        boxes, labels = _objects_to_learn(record, data)
        image = EncodedPicture(record["image"], record["size"])
        return Labelled(*augment(image, boxes, labels, draw, augmentation, size, data.resize))

    epochs = tf.data.Dataset.range(start // count, tf.int64.max).flat_map(one_pass)
    calls = data.parallel_calls or tf.data.AUTOTUNE
    return epochs.skip(start % count).map(prepare, num_parallel_calls=calls)


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


def learnt_objects(records: Dataset, size: tuple[int, int], data: DataParams) -> Dataset:
    """Boxes (N, 4) as the network sees them, normalised, and labels (N,) of the objects that are learnt.

    Pictures are not decoded; see `training_stream` for the arguments.
    """

    def objects(serialized: Tensor) -> tuple[Tensor, Tensor]:
        record = parse(serialized)
        boxes, labels = _objects_to_learn(record, data)
        window = frame_window(record["size"], size, data.resize)
        return boxes_in_window(boxes[labels > 0], labels[labels > 0], window, None)

    return records.map(objects, num_parallel_calls=tf.data.AUTOTUNE)


def evaluation_batches(records: Dataset, size: tuple[int, int], resize: Resize, batch_size: int) -> Dataset:
    """`EvalBatch`es of all records, each picture once, fitted to `size` (height, width)."""

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
