"""Colour distortions of the paper's augmentation (Caffe's `im_transforms.cpp`)."""

from typing import Any

import tensorflow as tf

from ssdcore.params import Photometric

Tensor = Any


def distort_colours(image: Tensor, params: Photometric, seed: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue, each with `probability`.

    Contrast comes either second or last, with even odds; values saturate at 0 and 255.

    Args:
        image: (H, W, 3) float32 RGB 0..255.
        params: bounds and probability.
        seed: (2,) int32.
    """
    draws = tf.random.stateless_uniform([9], seed)
    applied = draws[:4] < params.probability
    shift = tf.where(applied[0], params.brightness * (2 * draws[4] - 1), 0.0)
    contrast = tf.where(applied[1], between(params.contrast, draws[5]), 1.0)
    contrast_first = draws[8] < 0.5
    image = _saturate(image + shift)
    image = _saturate(image * tf.where(contrast_first, contrast, 1.0))
    if applied[2] | applied[3]:
        saturation = tf.where(applied[2], between(params.saturation, draws[6]), 1.0)
        degrees = tf.where(applied[3], params.hue * (2 * draws[7] - 1), 0.0)
        image = change_hue_and_saturation(image, degrees, saturation)
    return _saturate(image * tf.where(contrast_first, 1.0, contrast))


def change_hue_and_saturation(image: Tensor, degrees: Tensor, factor: Tensor) -> Tensor:
    """Turns the hue by `degrees` and multiplies the saturation; (H, W, 3) float32 RGB 0..255."""
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(image / 255.0), axis=-1)
    hue = tf.math.floormod(hue + degrees / 360.0, 1.0)
    saturation = tf.clip_by_value(saturation * factor, 0.0, 1.0)
    return tf.image.hsv_to_rgb(tf.stack([hue, saturation, value], axis=-1)) * 255.0


def between(bounds: tuple[float, float], draw: Tensor) -> Tensor:
    """A draw from [0, 1) as one from between two bounds."""
    return bounds[0] + draw * (bounds[1] - bounds[0])


def _saturate(image: Tensor) -> Tensor:
    return tf.clip_by_value(image, 0.0, 255.0)
