"""Detection in large images: in tiles, and in the whole image for objects larger than a tile."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ssdcore.detection import Detections
from ssdcore.geometry.iou import ios_matrix_xyxy, iou_matrix_xyxy
from ssdcore.types import Image

OVERLAP = 0.25
SAME_IOU, SAME_INSIDE = 0.45, 0.7
"""Two boxes of a class show one object if their IoU, or their intersection over the smaller one, is larger."""


class DetectsImages(Protocol):
    """A detector, whole or tiled."""

    classes: tuple[str, ...]

    def __call__(self, images: list[Image]) -> list[Detections]:
        """The detections in each of some RGB images (H, W, 3) uint8."""


class TiledDetector:
    """A detector that splits large images.

    An image larger than a tile is cut into overlapping square tiles, which go through the detector in batches
    together with the whole image. Of the detections in the whole image only those longer than half a tile are kept,
    as tiles show smaller objects at a higher resolution. Duplicates are removed.
    """

    def __init__(self, detector: DetectsImages, tile: int, overlap: float) -> None:
        """Wraps a detector.

        Args:
            detector: detects objects in a list of images.
            tile: side of a tile, px.
            overlap: least overlap of neighbouring tiles, a fraction of the side, below 1.
        """
        self.classes = detector.classes
        self._detector, self._tile, self._overlap = detector, tile, overlap

    def __call__(self, images: Sequence[Image]) -> list[Detections]:
        """The detections in each of some RGB images (H, W, 3) uint8; boxes in px, best first."""
        origins = [tile_origins(image.shape[:2], self._tile, self._overlap) for image in images]
        side, parts = self._tile, []
        for image, at in zip(images, origins, strict=True):
            parts += [image, *(image[top : top + side, left : left + side] for left, top in at)]
        detections = iter(self._detector(parts))
        return [self._merge(next(detections), at, [next(detections) for _ in at]) for at in origins]

    def _merge(self, whole: Detections, origins: Sequence[tuple[int, int]], tiles: Sequence[Detections]) -> Detections:
        """The detections in an image and in its tiles, without duplicates."""
        if not origins:
            return whole
        sides = (whole.boxes[:, 2:] - whole.boxes[:, :2]).max(axis=1, initial=0)
        large = sides > self._tile / 2
        moved = [tile.boxes + np.array(origin * 2, np.float32) for tile, origin in zip(tiles, origins, strict=True)]
        boxes = np.concatenate([whole.boxes[large], *moved])
        scores = np.concatenate([whole.scores[large], *(tile.scores for tile in tiles)])
        labels = np.concatenate([whole.labels[large], *(tile.labels for tile in tiles)])
        kept = without_duplicates(boxes, scores, labels)
        return Detections(boxes[kept], scores[kept], labels[kept], self.classes)


def tile_origins(size: tuple[int, ...], tile: int, overlap: float) -> list[tuple[int, int]]:
    """Left and top of the tiles, row by row, px; none where an image of `size` (height, width) is no larger than one.

    The tiles are evenly spaced and inside the image; neighbours overlap by at least that fraction of a tile.
    """
    if max(size) <= tile:
        return []
    tops, lefts = (_starts(side, tile, overlap) for side in size)
    return [(left, top) for top in tops for left in lefts]


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    stride = max(int(tile * (1 - overlap)), 1)  # at most
    steps = -(-max(side - tile, 0) // stride)
    return [round(step * (side - tile) / steps) for step in range(steps + 1)] if steps else [0]


def without_duplicates(
    boxes: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> NDArray[np.intp]:
    """The indices of the best detection of each object, best first.

    Like `supervision.box_non_max_suppression` with both of its measures at once, but in memory that grows with the
    number of boxes, (N, 4) xyxy, and not with its square.
    """
    kept = []
    for label in np.unique(labels):
        left = np.flatnonzero(labels == label)
        left = left[np.argsort(-scores[left], kind="stable")]
        while len(left):
            best, left = left[0], left[1:]
            kept.append(best)
            others = boxes[left]
            iou, ios = iou_matrix_xyxy(boxes[best], others)[0], ios_matrix_xyxy(boxes[best], others)[0]
            left = left[(iou <= SAME_IOU) & (ios <= SAME_INSIDE)]
    indices = np.array(kept, np.intp)
    return indices[np.argsort(-scores[indices], kind="stable")]
