"""Photometric distortion of the paper's augmentation (Caffe's `im_transforms.cpp`), with OpenCV as in Caffe."""

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ssdcore.params import Photometric
from ssdcore.types import Image, Tensor

_LEVELS = np.arange(256, dtype=np.float32)
_HUES = 180
"""OpenCV's 8-bit hues are in units of two degrees."""


def photometric_distortion(image: Tensor, params: Photometric, seed: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue, each with `probability`.

    Contrast comes either second or last, with even odds. As in Caffe, each step works on integers
    from 0 to 255 and saturates there. The image is (H, W, 3) float32 RGB 0..255.
    """
    draws = tf.random.stateless_uniform([9], seed)
    applied = draws[:4] < params.probability
    shift = tf.where(applied[0], params.brightness * (2 * draws[4] - 1), 0.0)
    contrast = tf.where(applied[1], between(params.contrast, draws[5]), 1.0)
    saturation = tf.where(applied[2], between(params.saturation, draws[6]), 1.0)
    degrees = tf.where(applied[3], params.hue * (2 * draws[7] - 1), 0.0)
    first = tf.where(draws[8] < 0.5, contrast, 1.0)
    steps = tf.stack([shift, first, saturation, degrees, contrast / first])
    whole = tf.cast(tf.round(image), tf.uint8)
    changed = tf.numpy_function(change_colours, [whole, steps], tf.uint8, stateful=False)
    return tf.cast(tf.ensure_shape(changed, image.shape), tf.float32)


def change_colours(image: Image, steps: NDArray[np.float32]) -> Image:
    """Distorts an image by given amounts.

    Args:
        image: (H, W, 3) uint8 RGB.
        steps: (5,) brightness added to all channels; contrast factor; saturation factor; degrees added
            to the hue; second contrast factor.
    """
    shift, first, saturation, degrees, last = (float(step) for step in steps)
    if shift != 0 or first != 1:
        image = cv2.LUT(image, _quantise(_quantise(_LEVELS + shift) * first))
    if saturation != 1 or degrees != 0:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hues = (_LEVELS + round(degrees * _HUES / 360)) % _HUES
        table = np.stack([hues, _quantise(_LEVELS * saturation), _LEVELS], axis=-1).astype(np.uint8)
        image = cv2.cvtColor(cv2.LUT(hsv, table[:, None]), cv2.COLOR_HSV2RGB)
    return image if last == 1 else cv2.LUT(image, _quantise(_LEVELS * last))


def _quantise(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(levels).clip(0, 255).astype(np.uint8)


def between(bounds: tuple[float, float], draw: Tensor) -> Tensor:
    """Maps a draw from [0, 1) to the range between two bounds."""
    return bounds[0] + draw * (bounds[1] - bounds[0])
