"""The paper's augmentation: zoom out, zoom in, flip, colours (section 2.2 and 3.6).

Windows are worked out first and the picture is resampled once: what Caffe does as expand, crop
and resize is here one crop, one resize and one padding. Colours are distorted after that, on fewer
pixels; distorting and resizing commute but for rounding. Every draw depends on `seed` alone.
"""

from functools import partial
from typing import Any

import tensorflow as tf

from ssdcore.data.colour import between, distort_colours
from ssdcore.geometry.boxes import area_xyxy, clip_xyxy, iou_xyxy, to_window_xyxy
from ssdcore.params import AugmentParams, Crop, Expand

Tensor = Any

# Mean colour (RGB) of ImageNet: what lies around a picture that was zoomed out.
MEAN_COLOUR = (123.0, 117.0, 104.0)
WHOLE = (0.0, 0.0, 1.0, 1.0)


def augment(
    image: Tensor, boxes: Tensor, labels: Tensor, seed: Tensor, params: AugmentParams, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """A random variant of a labelled picture, at the network's input size.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float32 xyxy, normalised.
        labels: (N,) int32.
        seed: (2,) int32; the same seed gives the same variant.
        params: what may happen.
        size: height and width of the result, px.

    Returns:
        image (h, w, 3) float32 0..255; the boxes and labels whose centre is still in the picture,
        cut to it.
    """
    seeds = tf.random.experimental.stateless_split(seed, 5)
    window = choose_window(boxes, seeds, params)
    window = snap_to_pixels(window, tf.shape(image)[:2])
    boxes, labels = boxes_in_window(boxes, labels, window)
    region = resize_window(image, window, size, params.interpolations, seeds[2])
    if params.photometric is not None:
        region = distort_colours(region, params.photometric, seeds[3])
    image = tf.ensure_shape(pad_to_window(region, window, size), (*size, 3))
    return (*flip(image, boxes, params, seeds[4]), labels)


def choose_window(boxes: Tensor, seeds: Tensor, params: AugmentParams) -> Tensor:
    """The part (4,) xyxy of the picture's plane to look at; the picture itself is (0, 0, 1, 1)."""
    canvas = tf.constant(WHOLE)
    if params.expand is not None:
        canvas = expand_window(params.expand, seeds[0])
    if params.crop is None:
        return canvas
    inner = crop_window(to_window_xyxy(boxes, canvas), params.crop, seeds[1])
    origin, side = canvas[:2], canvas[2:] - canvas[:2]
    return tf.tile(origin, [2]) + inner * tf.tile(side, [2])


def expand_window(params: Expand, seed: Tensor) -> Tensor:
    """A canvas up to `max_ratio` times as large with the picture somewhere on it, or the picture."""
    happens, ratio, x, y = tf.unstack(tf.random.stateless_uniform([4], seed))
    ratio = tf.where(happens < params.probability, 1 + ratio * (params.max_ratio - 1), 1.0)
    left, top = -x * (ratio - 1), -y * (ratio - 1)
    return tf.stack([left, top, left + ratio, top + ratio])


def crop_window(boxes: Tensor, params: Crop, seed: Tensor) -> Tensor:
    """A window chosen evenly among the whole picture and each sampler's first success.

    A sampler succeeds with a window that overlaps some object with at least its IoU; on pictures
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


def _random_windows(count: int, params: Crop, seed: Tensor) -> Tensor:
    """(count, 4) xyxy windows inside the picture, as Caffe's sampler draws them."""
    draws = tf.random.stateless_uniform([4, count], seed)
    scale = between(params.scale, draws[0])
    ratio = tf.clip_by_value(between(params.aspect_ratio, draws[1]), scale**2, 1 / scale**2)
    width, height = scale * tf.sqrt(ratio), scale / tf.sqrt(ratio)
    left, top = draws[2] * (1 - width), draws[3] * (1 - height)
    return tf.stack([left, top, left + width, top + height], axis=1)


def snap_to_pixels(window: Tensor, image_size: Tensor) -> Tensor:
    """The window whose edges are whole pixels, at least one apart, so that boxes follow exactly."""
    sides = _sides(image_size)
    pixels = tf.round(window * sides)
    pixels = tf.concat([pixels[:2], tf.maximum(pixels[2:], pixels[:2] + 1)], axis=0)
    return pixels / sides


def _sides(size: Any) -> Tensor:
    """(height, width) as float32 (width, height, width, height)."""
    height, width = tf.cast(size[0], tf.float32), tf.cast(size[1], tf.float32)
    return tf.stack([width, height, width, height])


def boxes_in_window(boxes: Tensor, labels: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) and labels (N,) of the objects whose centre is in the window, cut to it."""
    boxes = to_window_xyxy(boxes, window)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = tf.reduce_all((centres >= 0) & (centres <= 1), axis=1)
    boxes = clip_xyxy(boxes)
    kept = inside & (area_xyxy(boxes) > 0)
    return tf.boolean_mask(boxes, kept), tf.boolean_mask(labels, kept)


def resize_window(
    image: Tensor, window: Tensor, size: tuple[int, int], methods: tuple[str, ...], seed: Tensor
) -> Tensor:
    """The picture's share of a window, resized to what it takes up of the result; float32 0..255."""
    left, top, right, bottom = tf.unstack(_whole_pixels(window, tf.shape(image)[:2]))
    x0, y0, x1, y1 = tf.unstack(picture_in_window(window, size))
    region, target = image[top:bottom, left:right], tf.stack([y1 - y0, x1 - x0])

    def resized(method: str) -> Tensor:
        return tf.cast(tf.image.resize(region, target, method), tf.float32)

    choice = tf.random.stateless_uniform([], seed, maxval=len(methods), dtype=tf.int32)
    result = tf.switch_case(choice, [partial(resized, method) for method in methods])
    return tf.clip_by_value(result, 0.0, 255.0)


def picture_in_window(window: Tensor, size: tuple[int, int]) -> Tensor:
    """Where the picture lies in the result: (4,) int32 xyxy in px, at least one pixel."""
    return _whole_pixels(to_window_xyxy(clip_xyxy(window), window), size)


def _whole_pixels(box: Tensor, size: Any) -> Tensor:
    """A normalised box (4,) xyxy, cut to (height, width), in whole px; at least one pixel is inside."""
    corners = tf.cast(tf.round(clip_xyxy(box) * _sides(size)), tf.int32)
    low = tf.minimum(corners[:2], [size[1] - 1, size[0] - 1])
    return tf.concat([low, tf.maximum(corners[2:], low + 1)], axis=0)


def pad_to_window(region: Tensor, window: Tensor, size: tuple[int, int]) -> Tensor:
    """Puts the resized region on a canvas (h, w, 3) of the mean colour."""
    x0, y0, _, _ = tf.unstack(picture_in_window(window, size))
    mean = tf.constant(MEAN_COLOUR)
    return tf.image.pad_to_bounding_box(region - mean, y0, x0, *size) + mean


def flip(image: Tensor, boxes: Tensor, params: AugmentParams, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrors picture and boxes left-right and top-bottom with their probabilities."""
    draws = tf.random.stateless_uniform([2], seed)
    if draws[0] < params.horizontal_flip:
        image = tf.reverse(image, [1])
        boxes = tf.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
    if draws[1] < params.vertical_flip:
        image = tf.reverse(image, [0])
        boxes = tf.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], axis=1)
    return image, boxes
