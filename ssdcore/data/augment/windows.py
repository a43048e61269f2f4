"""Random windows of an image for augmentation, and the boxes inside them."""

import tensorflow as tf

from ssdcore.data.augment.photometric import between
from ssdcore.data.resize import WHOLE
from ssdcore.geometry.boxes import area_xyxy, clip_xyxy, iou_xyxy, to_window_xyxy
from ssdcore.params import CoverageCrop, Expand, PatchCrop
from ssdcore.params.class_names import IGNORED
from ssdcore.types import Tensor


def expand_window(params: Expand, seed: Tensor) -> Tensor:
    """A canvas up to `max_ratio` times as large with the image somewhere on it, or just the image."""
    happens, ratio, x, y = tf.unstack(tf.random.stateless_uniform([4], seed))
    ratio = tf.where(happens < params.probability, 1 + ratio * (params.max_ratio - 1), 1.0)
    left, top = -x * (ratio - 1), -y * (ratio - 1)
    return tf.stack([left, top, left + ratio, top + ratio])


def crop_window(boxes: Tensor, params: PatchCrop, seed: Tensor) -> Tensor:
    """Draws uniformly among the whole image and the first success of each sampler (paper, section 2.2).

    A sampler succeeds with a window whose IoU with some object is at least its minimum; on images without
    objects none does.
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
    """A window by TensorFlow's sampler that covers `min_covered` of some object, or the whole image.

    Boxes are (N, 4) xyxy inside [0, 1], `size` is (2,) int32 height and width of the image, px.
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
    """Boxes (N, 4) and labels (N,) of the objects that stay, in the window's coordinates and clipped to it.

    An object stays if its centre is in the window; with a `CoverageCrop`, if enough of its area is.
    """
    boxes = to_window_xyxy(boxes, window)
    visible = clip_xyxy(boxes)
    if isinstance(crop, CoverageCrop):
        kept = area_xyxy(visible) > crop.min_visible * area_xyxy(boxes)
    else:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        kept = tf.reduce_all((centres >= 0) & (centres <= 1), axis=1)
    # Any remaining part of an ignored region must not become background.
    kept = (kept | (labels == IGNORED)) & (area_xyxy(visible) > 0)
    return tf.boolean_mask(visible, kept), tf.boolean_mask(labels, kept)
