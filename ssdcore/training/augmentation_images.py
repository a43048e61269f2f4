"""Images that show what each part of the augmentation does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ssdcore.data.augment.chain import augment
from ssdcore.data.records.record import decode, parse
from ssdcore.params import AugmentParams, ParamSet

FLIPS = "flips and turns"
PARTS: dict[str, tuple[str, ...]] = {
    "original": (),
    "expand": ("expand",),
    "crop": ("crop",),
    "photometric distortion": ("photometric",),
    FLIPS: ("horizontal_flip", "vertical_flip", "quarter_turn"),
}
BOX_COLOR = (0.0, 255.0, 0.0)


def augmentation_stages(serialized: Sequence[bytes], params: ParamSet, stage: int) -> dict[str, Any]:
    """Records as the network sees them without augmentation, and with more and more of its parts.

    The random draws are the same in all of them, so that each part's effect shows.

    Args:
        serialized: records.
        params: the augmentation, and the size of the network input.
        stage: index of the training stage, on which draws depend.

    Returns:
        title -> (N, h, w, 3) uint8 RGB with the boxes drawn.
    """
    off: dict[str, Any] = {**dict.fromkeys(("expand", "crop", "photometric")), **dict.fromkeys(PARTS[FLIPS], 0.0)}
    images = {}
    for number, (title, keys) in enumerate(PARTS.items(), start=1):
        off = {key: value for key, value in off.items() if key not in keys}
        chain = params.augment.model_copy(update=off)
        drawn = [_drawn(record, params, chain, (stage, index)) for index, record in enumerate(serialized)]
        images[f"{number} {title}"] = np.stack(drawn)
    return images


def _drawn(serialized: bytes, params: ParamSet, chain: AugmentParams, seed: tuple[int, int]) -> Any:
    record = parse(tf.constant(serialized))
    image, boxes, _ = augment(
        decode(record["image"]),
        record["boxes"],
        record["labels"],
        tf.constant(seed, tf.int32),
        chain,
        params.model.image_size,
        params.data.resize,
    )
    yxyx = tf.gather(boxes, [1, 0, 3, 2], axis=1)
    drawn = tf.image.draw_bounding_boxes(image[None], yxyx[None], tf.constant([BOX_COLOR]))
    return tf.cast(drawn[0], tf.uint8).numpy()
