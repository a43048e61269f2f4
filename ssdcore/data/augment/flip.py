"""Random flips and quarter turns of an image with its boxes."""

import tensorflow as tf

from ssdcore.data.records.record import EncodedImage, decode
from ssdcore.params import AugmentParams
from ssdcore.types import Tensor


def flip(image: Tensor, boxes: Tensor, params: AugmentParams, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Flips image and boxes horizontally and vertically with their probabilities."""
    draws = tf.random.stateless_uniform([2], seed)
    if draws[0] < params.horizontal_flip:
        image = tf.reverse(image, [1])
        boxes = tf.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
    if draws[1] < params.vertical_flip:
        image = tf.reverse(image, [0])
        boxes = tf.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], axis=1)
    return image, boxes


def quarter_turn(
    image: Tensor | EncodedImage, boxes: Tensor, probability: float, seed: Tensor
) -> tuple[Tensor | EncodedImage, Tensor]:
    """Rotates image and boxes by 90° counterclockwise with some probability."""
    if probability == 0:
        return image, boxes
    if isinstance(image, EncodedImage):
        image = decode(image.encoded)

    def rotated() -> tuple[Tensor, Tensor]:
        left, top, right, bottom = tf.unstack(boxes, axis=1)
        return tf.image.rot90(image), tf.stack([top, 1 - right, bottom, 1 - left], axis=1)

    return tf.cond(tf.random.stateless_uniform([], seed) < probability, rotated, lambda: (image, boxes))
