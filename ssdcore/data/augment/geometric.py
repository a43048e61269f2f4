"""Augmentation: zoom out, zoom in, flip, turn, colours.

The paper's chain (section 2.2 and 3.6) and that of the TensorFlow 1 projects. Windows are worked
out first and the image is resampled once: what Caffe does as expand, crop and resize is here one
crop, one resize and one padding. Colours are distorted after that, on fewer pixels; distorting and
resizing commute but for rounding. Every draw depends on `seed` alone.
"""

from functools import partial
from typing import Any

import tensorflow as tf

from ssdcore.data.augment.photometric import between, photometric_distortion
from ssdcore.data.records.record import EncodedImage, decode, read_part, size_of
from ssdcore.data.resize import (
    WHOLE,
    Size,
    frame_window,
    pad_to_window,
    part_in_window,
    resize_part,
    snap_to_pixels,
    within,
)
from ssdcore.geometry.boxes import area_xyxy, clip_xyxy, iou_xyxy, to_window_xyxy
from ssdcore.params import AugmentParams, CoverageCrop, Expand, PatchCrop, Resize
from ssdcore.params.class_names import IGNORED

Tensor = Any


def augment(
    image: Tensor | EncodedImage,
    boxes: Tensor,
    labels: Tensor,
    seed: Tensor,
    params: AugmentParams,
    size: Size,
    resize: Resize,
) -> tuple[Tensor, Tensor, Tensor]:
    """A random variant of a labelled image, at the network's input size.

    Args:
        image: (H, W, 3) uint8 RGB, or encoded: then only the part that is used is decoded.
        boxes: (N, 4) float32 xyxy, normalised.
        labels: (N,) int32.
        seed: (2,) int32; the same seed gives the same variant.
        params: what may happen.
        size: height and width of the result, px.
        resize: how the image fits the network input before it is changed.

    Returns:
        image (h, w, 3) float32 0..255; the boxes and labels of the objects that are still in the
        image, cut to it.
    """
    seeds = tf.random.experimental.stateless_split(seed, 6)
    image, boxes = quarter_turn(image, boxes, params.quarter_turn, seeds[5])
    image_size = size_of(image)
    frame = frame_window(image_size, size, resize)
    window = snap_to_pixels(choose_window(boxes[labels > 0], image_size, frame, seeds, params), image_size)
    boxes, labels = boxes_in_window(boxes, labels, window, params.crop)
    part = read_part(image, part_in_window(window, image_size))
    region = resize_randomly(part, window, size, params.interpolations, seeds[2])
    if params.photometric is not None:
        region = photometric_distortion(region, params.photometric, seeds[3])
    image = tf.ensure_shape(pad_to_window(region, window, size), (*size, 3))
    return (*flip(image, boxes, params, seeds[4]), labels)


def choose_window(boxes: Tensor, image_size: Tensor, frame: Tensor, seeds: Tensor, params: AugmentParams) -> Tensor:
    """The part (4,) xyxy of the image's plane to look at; unchanged it is `frame`."""
    if params.expand is not None:
        frame = within(frame, expand_window(params.expand, seeds[0]))
    if isinstance(params.crop, PatchCrop):
        return within(frame, crop_window(to_window_xyxy(boxes, frame), params.crop, seeds[1]))
    if isinstance(params.crop, CoverageCrop):
        pixels = tf.cast(tf.cast(image_size, tf.float32) * (frame[2:] - frame[:2])[::-1], tf.int32)
        return within(frame, coverage_window(clip_xyxy(to_window_xyxy(boxes, frame)), pixels, params.crop, seeds[1]))
    return frame


def expand_window(params: Expand, seed: Tensor) -> Tensor:
    """A canvas up to `max_ratio` times as large with the image somewhere on it, or the image."""
    happens, ratio, x, y = tf.unstack(tf.random.stateless_uniform([4], seed))
    ratio = tf.where(happens < params.probability, 1 + ratio * (params.max_ratio - 1), 1.0)
    left, top = -x * (ratio - 1), -y * (ratio - 1)
    return tf.stack([left, top, left + ratio, top + ratio])


def crop_window(boxes: Tensor, params: PatchCrop, seed: Tensor) -> Tensor:
    """A window chosen evenly among the whole image and each sampler's first success.

    A sampler succeeds with a window that overlaps some object with at least its IoU; on images
    without objects none does.
    """
    window_seed, choice_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    samplers = len(params.min_ious)
    windows = _random_windows(samplers * params.trials, params, window_seed)
    best = tf.reduce_max(tf.pad(iou_xyxy(windows, boxes), [[0, 0], [1, 0]], constant_values=-1.0), axis=1)
    best = tf.reshape(best, [samplers, params.trials])
    good = best >= tf.constant(params.min_ious)[:, None]
    first = tf.argmax(good, axis=1)
    chosen = tf.gather(tf.reshape(windows, [samplers, params.trials, 4]), first, batch_dims=1)
    candidates = tf.concat([tf.constant([WHOLE]), chosen], axis=0)
    succeeded = tf.concat([[True], tf.reduce_any(good, axis=1)], axis=0)
    lots = tf.random.stateless_uniform([samplers + 1], choice_seed)
    return candidates[tf.argmax(tf.where(succeeded, lots, -1.0))]


def _random_windows(count: int, params: PatchCrop, seed: Tensor) -> Tensor:
    """(count, 4) xyxy windows inside the image, as Caffe's sampler draws them."""
    draws = tf.random.stateless_uniform([4, count], seed)
    scale = between(params.scale, draws[0])
    ratio = tf.clip_by_value(between(params.aspect_ratio, draws[1]), scale**2, 1 / scale**2)
    width, height = scale * tf.sqrt(ratio), scale / tf.sqrt(ratio)
    left, top = draws[2] * (1 - width), draws[3] * (1 - height)
    return tf.stack([left, top, left + width, top + height], axis=1)


def coverage_window(boxes: Tensor, size: Tensor, params: CoverageCrop, seed: Tensor) -> Tensor:
    """A window that covers `min_covered` of some object, as TensorFlow's sampler draws it, or the whole.

    Args:
        boxes: (N, 4) xyxy inside [0, 1].
        size: (2,) int32 height and width of the image, px.
        params: bounds.
        seed: (2,) int32.
    """
    _, _, window = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([size, [3]], axis=0),
        tf.gather(boxes, [1, 0, 3, 2], axis=1)[None],
        seed,
        min_object_covered=params.min_covered,
        aspect_ratio_range=params.aspect_ratio,
        area_range=params.area,
        max_attempts=params.trials,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.gather(window[0, 0], [1, 0, 3, 2])


def boxes_in_window(
    boxes: Tensor, labels: Tensor, window: Tensor, crop: PatchCrop | CoverageCrop | None
) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) and labels (N,) of the objects that stay, cut to the window.

    An object stays if its centre is in the window; after a `CoverageCrop` if enough of it is.
    """
    boxes = to_window_xyxy(boxes, window)
    visible = clip_xyxy(boxes)
    if isinstance(crop, CoverageCrop):
        kept = area_xyxy(visible) > crop.min_visible * area_xyxy(boxes)
    else:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        kept = tf.reduce_all((centres >= 0) & (centres <= 1), axis=1)
    # What is left of a region to ignore, however little, must not be taken for background.
    kept = (kept | (labels == IGNORED)) & (area_xyxy(visible) > 0)
    return tf.boolean_mask(visible, kept), tf.boolean_mask(labels, kept)


def resize_randomly(part: Tensor, window: Tensor, size: Size, methods: tuple[str, ...], seed: Tensor) -> Tensor:
    """`resize_part` by one of several methods."""
    choice = tf.random.stateless_uniform([], seed, maxval=len(methods), dtype=tf.int32)
    return tf.switch_case(choice, [partial(resize_part, part, window, size, method) for method in methods])


def quarter_turn(
    image: Tensor | EncodedImage, boxes: Tensor, probability: float, seed: Tensor
) -> tuple[Tensor | EncodedImage, Tensor]:
    """Turns image and boxes by 90° against the clock with some probability."""
    if probability == 0:
        return image, boxes
    if isinstance(image, EncodedImage):
        image = decode(image.encoded)

    def turned() -> tuple[Tensor, Tensor]:
        left, top, right, bottom = tf.unstack(boxes, axis=1)
        return tf.image.rot90(image), tf.stack([top, 1 - right, bottom, 1 - left], axis=1)

    return tf.cond(tf.random.stateless_uniform([], seed) < probability, turned, lambda: (image, boxes))


def flip(image: Tensor, boxes: Tensor, params: AugmentParams, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrors image and boxes left-right and top-bottom with their probabilities."""
    draws = tf.random.stateless_uniform([2], seed)
    if draws[0] < params.horizontal_flip:
        image = tf.reverse(image, [1])
        boxes = tf.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
    if draws[1] < params.vertical_flip:
        image = tf.reverse(image, [0])
        boxes = tf.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], axis=1)
    return image, boxes
