"""The random changes of a training image: expand, crop, flip, quarter turn, photometric distortion.

The augmentation of the paper (sections 2.2 and 3.6) and of the TensorFlow 1 projects. Windows are computed
first and the image is resampled once: Caffe's expand, crop and resize become one crop, one resize and
one padding. Colours are distorted after that, on fewer pixels; distorting and resizing commute up to
rounding. Every random draw depends only on `seed`.
"""

from functools import partial

import tensorflow as tf

from ssdcore.data.augment.photometric import photometric_distortion
from ssdcore.data.augment.windows import boxes_in_window, coverage_window, crop_window, expand_window
from ssdcore.data.records.record import EncodedImage, decode, read_part, size_of
from ssdcore.data.resize import Size, frame_window, pad_to_window, part_in_window, resize_part, snap_to_pixels
from ssdcore.geometry.boxes import clip_xyxy, from_window_xyxy, to_window_xyxy
from ssdcore.params import AugmentParams, CoverageCrop, PatchCrop, Resize
from ssdcore.types import Tensor


def augment(
    image: Tensor | EncodedImage,
    boxes: Tensor,
    labels: Tensor,
    seed: Tensor,
    params: AugmentParams,
    size: Size,
    resize: Resize,
) -> tuple[Tensor, Tensor, Tensor]:
    """Augments a labelled image and resizes it to the network's input size.

    Args:
        image: (H, W, 3) uint8 RGB, or encoded, of which only the needed part is decoded.
        boxes: (N, 4) float32 xyxy, normalised.
        labels: (N,) int32.
        seed: (2,) int32; the same seed gives the same result.
        params: kinds and probabilities of the changes.
        size: height and width of the result, px.
        resize: how the image would be resized without augmentation.

    Returns:
        image (h, w, 3) float32 0..255; boxes and labels of the objects still in the image, clipped to it.
    """
    seeds = tf.random.experimental.stateless_split(seed, 6)
    image, boxes = quarter_turn(image, boxes, params.quarter_turn, seeds[5])
    image_size = size_of(image)
    frame = frame_window(image_size, size, resize)
    window = snap_to_pixels(_choose_window(boxes[labels > 0], image_size, frame, seeds, params), image_size)
    boxes, labels = boxes_in_window(boxes, labels, window, params.crop)
    part = read_part(image, part_in_window(window, image_size))
    methods = [partial(resize_part, part, window, size, method) for method in params.interpolations]
    method = tf.random.stateless_uniform([], seeds[2], maxval=len(methods), dtype=tf.int32)
    region = tf.switch_case(method, methods)
    if params.photometric is not None:
        region = photometric_distortion(region, params.photometric, seeds[3])
    image = tf.ensure_shape(pad_to_window(region, window, size), (*size, 3))
    return (*flip(image, boxes, params, seeds[4]), labels)


def _choose_window(boxes: Tensor, image_size: Tensor, frame: Tensor, seeds: Tensor, params: AugmentParams) -> Tensor:
    """The window (4,) xyxy of the image to use: `frame`, expanded and cropped."""
    if params.expand is not None:
        frame = from_window_xyxy(expand_window(params.expand, seeds[0]), frame)
    if isinstance(params.crop, PatchCrop):
        return from_window_xyxy(crop_window(to_window_xyxy(boxes, frame), params.crop, seeds[1]), frame)
    if isinstance(params.crop, CoverageCrop):
        pixels = tf.cast(tf.cast(image_size, tf.float32) * (frame[2:] - frame[:2])[::-1], tf.int32)
        visible = clip_xyxy(to_window_xyxy(boxes, frame))
        return from_window_xyxy(coverage_window(visible, pixels, params.crop, seeds[1]), frame)
    return frame


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
