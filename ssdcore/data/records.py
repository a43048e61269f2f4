"""TFRecords of labelled pictures, under the keys that SSD-Tensorflow and its kin use."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Tensor = Any
SIDES = ("xmin", "ymin", "xmax", "ymax")


class Record(TypedDict):
    """One parsed record.

    `image` bytes; `name` bytes; `size` (2,) int64 height and width, px; `boxes` (N, 4) float32
    xyxy normalised; `labels` (N,) int32, 1..C; `difficult` (N,) bool.
    """

    image: Tensor
    name: Tensor
    size: Tensor
    boxes: Tensor
    labels: Tensor
    difficult: Tensor


def serialize(
    encoded: bytes,
    name: str,
    size: tuple[int, int],
    boxes: NDArray[np.float32],
    labels: Sequence[int],
    texts: Sequence[str],
    difficult: Sequence[bool],
    truncated: Sequence[bool],
) -> bytes:
    """A `tf.train.Example`; `size` is (height, width) in px, `boxes` (N, 4) xyxy normalised."""
    kind = b"PNG" if encoded.startswith(b"\x89PNG") else b"JPEG"
    features = {
        "image/encoded": _bytes([encoded]),
        "image/format": _bytes([kind]),
        "image/filename": _bytes([name.encode()]),
        "image/height": _ints([size[0]]),
        "image/width": _ints([size[1]]),
        "image/channels": _ints([3]),
        "image/shape": _ints([*size, 3]),
        "image/object/bbox/label": _ints(labels),
        "image/object/bbox/label_text": _bytes([text.encode() for text in texts]),
        "image/object/bbox/difficult": _ints(difficult),
        "image/object/bbox/truncated": _ints(truncated),
    }
    for column, side in enumerate(SIDES):
        values = tf.train.FloatList(value=boxes[:, column])
        features[f"image/object/bbox/{side}"] = tf.train.Feature(float_list=values)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _bytes(values: Sequence[bytes]) -> Any:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(values: Sequence[int]) -> Any:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))


def parse(serialized: Tensor) -> Record:
    """Reads one serialized example."""
    scalars = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/filename": tf.io.FixedLenFeature([], tf.string, ""),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
    }
    columns = {f"image/object/bbox/{side}": tf.io.RaggedFeature(tf.float32) for side in SIDES}
    flags = {f"image/object/bbox/{key}": tf.io.RaggedFeature(tf.int64) for key in ("label", "difficult")}
    found = tf.io.parse_single_example(serialized, {**scalars, **columns, **flags})
    return Record(
        image=found["image/encoded"],
        name=found["image/filename"],
        size=tf.stack([found["image/height"], found["image/width"]]),
        boxes=tf.stack([found[key] for key in columns], axis=-1),
        labels=tf.cast(found["image/object/bbox/label"], tf.int32),
        difficult=found["image/object/bbox/difficult"] > 0,
    )


def decode(image: Tensor) -> Tensor:
    """JPEG or PNG bytes as RGB (H, W, 3) uint8."""
    pixels = tf.io.decode_image(image, channels=3, expand_animations=False)
    return tf.ensure_shape(pixels, (None, None, 3))
