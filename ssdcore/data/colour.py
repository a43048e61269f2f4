"""Colour distortions of the paper's augmentation (Caffe's `im_transforms.cpp`)."""

from collections.abc import Callable
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
    contrast_first = draws[8] < 0.5

    def contrast(image: Tensor, here: Tensor) -> Tensor:
        factor = between(params.contrast, draws[5])
        return _sometimes(here & (draws[1] < params.probability), lambda: _saturate(image * factor), image)

    shift = params.brightness * (2 * draws[4] - 1)
    image = _sometimes(draws[0] < params.probability, lambda: _saturate(image + shift), image)
    image = contrast(image, contrast_first)
    factor = between(params.saturation, draws[6])
    image = _sometimes(draws[2] < params.probability, lambda: tf.image.adjust_saturation(image, factor), image)
    turn = params.hue / 360 * (2 * draws[7] - 1)
    image = _sometimes(draws[3] < params.probability, lambda: tf.image.adjust_hue(image, turn), image)
    return contrast(image, ~contrast_first)


def _sometimes(condition: Tensor, change: Callable[[], Tensor], image: Tensor) -> Tensor:
    """A changed image or the image itself; what is not wanted is not computed."""
    return tf.cond(condition, change, lambda: image)


def between(bounds: tuple[float, float], draw: Tensor) -> Tensor:
    """A draw from [0, 1) as one from between two bounds."""
    return bounds[0] + draw * (bounds[1] - bounds[0])


def _saturate(image: Tensor) -> Tensor:
    return tf.clip_by_value(image, 0.0, 255.0)
