"""Recall of default boxes: the best IoU of each object with any of them.

Matching gives every object a default box of its own, however small their overlap. An object whose best IoU
is below the matching threshold has only that forced match to train on: recall counts the others.
Boxes are normalised xyxy in the network input; NumPy only.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssdcore.geometry.iou import iou_matrix_xyxy

Boxes = NDArray[np.float32]

BAND_EDGES = (16, 32, 64, 128, 256)
"""Limits between bands of object sizes, px of the network input; an object at a limit is in the upper band."""

BAND_NAMES = ("<16", "16-32", "32-64", "64-128", "128-256", ">256")

_PAIRS_AT_ONCE = 1 << 16
"""IoUs computed at once: few enough for the processor's cache."""


class Recall(NamedTuple):
    """Number of objects, the fraction with a best IoU of at least the threshold, and the mean best IoU."""

    objects: int
    recall: float
    mean_iou: float


class BestBoxes(NamedTuple):
    """The default box that overlaps each object most.

    Attributes:
        ious: (N,) float32 in [0, 1].
        indices: (N,) int64, index of the default box; the lowest one of several.
    """

    ious: NDArray[np.float32]
    indices: NDArray[np.int64]

    def recall(self, match_iou: float, chosen: NDArray[np.bool_] | None = None) -> Recall:
        """Recall of all objects, or those `chosen` by an (N,) mask; recall and mean are 1.0 if there are none."""
        ious = self.ious if chosen is None else self.ious[chosen]
        if not len(ious):
            return Recall(0, 1.0, 1.0)
        return Recall(len(ious), float(np.mean(ious >= np.float32(match_iou))), float(np.mean(ious, dtype=np.float64)))

    def per_layer(self, boxes_per_layer: Sequence[int]) -> tuple[int, ...]:
        """The number of objects with their best box on each prediction layer, from the layers' numbers of boxes."""
        layers = np.searchsorted(np.cumsum(boxes_per_layer), self.indices, side="right")
        return tuple(np.bincount(layers, minlength=len(boxes_per_layer)).tolist())


def best_boxes(objects: Boxes, default_boxes: Boxes) -> BestBoxes:
    """The best of the default boxes (A, 4) for each object (N, 4), exactly; both float32 normalised xyxy; N may be 0.

    The memory it takes does not grow with their number.
    """
    objects = np.asarray(objects, np.float32).reshape(-1, 4)
    default_boxes = np.asarray(default_boxes, np.float32)
    ious, indices = np.empty(len(objects), np.float32), np.empty(len(objects), np.int64)
    rows = max(1, _PAIRS_AT_ONCE // len(default_boxes))
    for start in range(0, len(objects), rows):
        part = slice(start, start + rows)
        table = iou_matrix_xyxy(objects[part], default_boxes)
        indices[part] = table.argmax(axis=1)
        ious[part] = table.max(axis=1)
    return BestBoxes(ious, indices)


def sizes_px(objects: Boxes, image_size: tuple[int, int]) -> NDArray[np.float64]:
    """Widths and heights (N, 2) of normalised xyxy boxes (N, 4), px of an input of `image_size` (height, width)."""
    boxes = np.asarray(objects, np.float64).reshape(-1, 4)
    return (boxes[:, 2:] - boxes[:, :2]) * np.array([image_size[1], image_size[0]])


def size_bands(objects: Boxes, image_size: tuple[int, int]) -> NDArray[np.int64]:
    """For each object (N, 4) the index of its size sqrt(width * height) among `BAND_NAMES`.

    Sizes are rounded to 1/1000 px, which float32 corners do not keep.
    """
    sides = np.sqrt(sizes_px(objects, image_size).prod(axis=1)).round(3)
    return np.searchsorted(BAND_EDGES, sides, side="right")


def sampled_recall(objects: Boxes, default_boxes: Boxes, match_iou: float, most: int = 2000, seed: int = 0) -> Recall:
    """Recall at `match_iou` of a sample of at most `most` objects (N, 4) by default boxes (A, 4), normalised xyxy."""
    objects = np.asarray(objects, np.float32).reshape(-1, 4)
    if len(objects) > most:
        objects = objects[np.random.default_rng(seed).choice(len(objects), most, replace=False)]
    return best_boxes(objects, default_boxes).recall(match_iou)
