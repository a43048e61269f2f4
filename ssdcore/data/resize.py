"""Resizes images to network input: a window of the image is chosen, then resampled once.

A window is an xyxy box in fractions of the image: (0, 0, 1, 1) is the image itself, and anything outside
of it is filled with the mean colour.
"""

from typing import Any

import tensorflow as tf

from ssdcore.data.records.record import read_part
from ssdcore.geometry.boxes import clip_xyxy, to_window_xyxy
from ssdcore.params import Resize
from ssdcore.types import Tensor

Size = tuple[int, int]

MEAN_COLOUR = (123.0, 117.0, 104.0)
"""RGB mean of ImageNet, used as padding."""

WHOLE = (0.0, 0.0, 1.0, 1.0)
_OVERSHOOTING = ("bicubic", "lanczos3")


def resize_image(image: Tensor, size: Size, mode: Resize) -> tuple[Tensor, Tensor]:
    """Resizes an image to the network's input size, bilinearly.

    Args:
        image: (H, W, 3) RGB.
        size: height and width of the result, px.
        mode: `warp`, `pad` or `central_crop`.

    Returns:
        image (h, w, 3) float32 0..255, and its window (4,) in the image.
    """
    if mode == "warp":
        return tf.ensure_shape(tf.image.resize(image, size), (*size, 3)), tf.constant(WHOLE)
    window = snap_to_pixels(frame_window(tf.shape(image)[:2], size, mode), tf.shape(image)[:2])
    part = read_part(image, part_in_window(window, tf.shape(image)[:2]))
    region = resize_part(part, window, size, "bilinear")
    return tf.ensure_shape(pad_to_window(region, window, size), (*size, 3)), window


def frame_window(image_size: Tensor, size: Size, mode: Resize) -> Tensor:
    """The window (4,) of an image of `image_size` (height, width) that `mode` resizes to `size`.

    `pad` never enlarges an image, as in SSD-Tensorflow.
    """
    if mode == "warp":
        return tf.constant(WHOLE)
    ratios = sides(size) / sides(image_size)
    if mode == "pad":
        ratios /= tf.minimum(1.0, tf.reduce_min(ratios))
    return tf.concat([(1 - ratios[:2]) / 2, (1 + ratios[2:]) / 2], axis=0)


def snap_to_pixels(window: Tensor, image_size: Tensor) -> Tensor:
    """The window rounded to whole pixels, at least one, so that boxes can be moved exactly."""
    scale = sides(image_size)
    # Round corner and sides, not two corners: rounding noise must not make a window a pixel wider.
    low = tf.round(window[:2] * scale[:2])
    side = tf.maximum(tf.round((window[2:] - window[:2]) * scale[:2]), 1.0)
    return tf.concat([low, low + side], axis=0) / scale


def resize_part(part: Tensor, window: Tensor, size: Size, method: str) -> Tensor:
    """Resizes a window's part (h, w, 3) of the image to its region of the result; float32 0..255."""
    x0, y0, x1, y1 = tf.unstack(image_in_window(window, size))
    region = tf.image.resize(part, tf.stack([y1 - y0, x1 - x0]), method)
    region = tf.cast(region, tf.float32)
    return tf.clip_by_value(region, 0.0, 255.0) if method in _OVERSHOOTING else region


def image_in_window(window: Tensor, size: Size) -> Tensor:
    """The region of the result that the image covers: (4,) int32 xyxy, px; at least one pixel."""
    return part_in_window(to_window_xyxy(clip_xyxy(window), window), size)


def pad_to_window(region: Tensor, window: Tensor, size: Size) -> Tensor:
    """Pads a resized region with the mean colour to (h, w, 3)."""
    x0, y0, _, _ = tf.unstack(image_in_window(window, size))
    mean = tf.constant(MEAN_COLOUR)

    def padded() -> Tensor:
        return tf.image.pad_to_bounding_box(region - mean, y0, x0, *size) + mean

    return tf.cond(tf.reduce_all(tf.shape(region)[:2] == size), lambda: region, padded)


def sides(size: Any) -> Tensor:
    """Turns (height, width) into float32 (width, height, width, height)."""
    height, width = tf.cast(size[0], tf.float32), tf.cast(size[1], tf.float32)
    return tf.stack([width, height, width, height])


def part_in_window(window: Tensor, size: Any) -> Tensor:
    """The part of an image of `size` (height, width) that a window shows: (4,) int32 xyxy, px; at least one pixel."""
    corners = tf.cast(tf.round(clip_xyxy(window) * sides(size)), tf.int32)
    low = tf.minimum(corners[:2], [size[1] - 1, size[0] - 1])
    return tf.concat([low, tf.maximum(corners[2:], low + 1)], axis=0)
