"""TFRecords of labelled images, under the keys that SSD-Tensorflow and its kin use."""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import tensorflow as tf

from ssdcore.data.annotations import SIDES
from ssdcore.data.images import UprightImage
from ssdcore.data.validation import ValidBox
from ssdcore.params.class_names import UNLABELLED
from ssdcore.types import Tensor


class Record(TypedDict):
    """One parsed record.

    `image` bytes; `name` bytes; `size` (2,) int64 height and width, px; `boxes` (N, 4) float32
    xyxy normalised; `labels` (N,) int32, 1..C, 0 for a region without labels; `difficult` and `crowd` (N,) bool.
    """

    image: Tensor
    name: Tensor
    size: Tensor
    boxes: Tensor
    labels: Tensor
    difficult: Tensor
    crowd: Tensor


def serialize(name: str, image: UprightImage, objects: Sequence[ValidBox], classes: Sequence[str]) -> bytes:
    """A `tf.train.Example` of an image; class ids are positions in `classes`, from 1 on, and 0 for `UNLABELLED`."""
    annotations = [item.annotation for item in objects]
    ids = {name: number for number, name in enumerate((UNLABELLED, *classes))}
    boxes = np.array([item.box for item in objects], np.float32).reshape(-1, 4)
    features = {
        "image/encoded": _bytes([image.encoded]),
        "image/format": _bytes([b"PNG" if image.encoded.startswith(b"\x89PNG") else b"JPEG"]),
        "image/filename": _bytes([name.encode(errors="backslashreplace")]),
        "image/height": _ints([image.size[0]]),
        "image/width": _ints([image.size[1]]),
        "image/channels": _ints([3]),
        "image/shape": _ints([*image.size, 3]),
        "image/object/bbox/label": _ints([ids[item.name] for item in annotations]),
        "image/object/bbox/label_text": _bytes([item.name.encode() for item in annotations]),
        "image/object/bbox/difficult": _ints([item.difficult for item in annotations]),
        "image/object/bbox/truncated": _ints([item.truncated for item in annotations]),
        "image/object/is_crowd": _ints([item.crowd for item in annotations]),
    }
    for column, side in enumerate(SIDES):
        values = tf.train.FloatList(value=boxes[:, column])
        features[f"image/object/bbox/{side}"] = tf.train.Feature(float_list=values)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def _bytes(values: Sequence[bytes]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(values: Sequence[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))


def parse(serialized: Tensor) -> Record:
    """Parses one serialized example in a graph."""
    scalars = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/filename": tf.io.FixedLenFeature([], tf.string, ""),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
    }
    columns = {f"image/object/bbox/{side}": tf.io.RaggedFeature(tf.float32) for side in SIDES}
    keys = ("image/object/bbox/label", "image/object/bbox/difficult", "image/object/is_crowd")
    flags = {key: tf.io.RaggedFeature(tf.int64) for key in keys}
    found = tf.io.parse_single_example(serialized, {**scalars, **columns, **flags})
    labels, crowd = found["image/object/bbox/label"], found["image/object/is_crowd"]
    return Record(
        image=found["image/encoded"],
        name=found["image/filename"],
        size=tf.stack([found["image/height"], found["image/width"]]),
        boxes=tf.stack([found[key] for key in columns], axis=-1),
        labels=tf.cast(labels, tf.int32),
        difficult=found["image/object/bbox/difficult"] > 0,
        # Records of older versions have no `is_crowd`.
        crowd=tf.cond(tf.size(crowd) == tf.size(labels), lambda: crowd, lambda: tf.zeros_like(labels)) > 0,
    )


class EncodedImage(NamedTuple):
    """JPEG or PNG bytes and the image's height and width (2,), px; `read_part` decodes only what is needed."""

    encoded: Tensor
    size: Tensor


def size_of(image: Tensor | EncodedImage) -> Tensor:
    """Height and width (2,) int32, px, of a decoded (H, W, 3) or encoded image."""
    return tf.cast(image.size, tf.int32) if isinstance(image, EncodedImage) else tf.shape(image)[:2]


def read_part(image: Tensor | EncodedImage, box: Tensor) -> Tensor:
    """The region (h, w, 3) uint8 RGB of an image inside an xyxy box (4,) int32, px."""
    left, top, right, bottom = tf.unstack(box)
    if not isinstance(image, EncodedImage):
        return image[top:bottom, left:right]
    crop = tf.stack([top, left, bottom - top, right - left])
    return tf.cond(
        tf.io.is_jpeg(image.encoded),
        lambda: tf.image.decode_and_crop_jpeg(image.encoded, crop, channels=3),
        lambda: decode(image.encoded)[top:bottom, left:right],
    )


def decode(image: Tensor) -> Tensor:
    """Decodes JPEG or PNG bytes to RGB (H, W, 3) uint8."""
    pixels = tf.io.decode_image(image, channels=3, expand_animations=False)
    return tf.ensure_shape(pixels, (None, None, 3))
