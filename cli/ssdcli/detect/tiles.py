"""Large images, looked at tile by tile, and as a whole for what is larger than tiles show."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssdcore.detection import Detections

if TYPE_CHECKING:
    from ssdcli.detect.work import Detects

OVERLAP = 0.25
SAME_IOU, SAME_INSIDE = 0.45, 0.7
"""Two boxes of a class show one object if their IoU, or the share of the smaller one in the other, is more."""

Boxes = NDArray[np.float32]
Image = NDArray[np.uint8]


class TiledDetector:
    """A detector that takes large images apart.

    An image larger than a tile is cut into overlapping square tiles, which go through the detector in batches, and
    is looked at as a whole too. Of the whole only boxes longer than half a tile count: tiles show anything smaller
    larger and so better. What was found twice is merged.
    """

    def __init__(self, detector: "Detects", tile: int, overlap: float) -> None:
        """Makes it of a detector.

        Args:
            detector: finds objects in a list of images.
            tile: side of a tile, px.
            overlap: least overlap of neighbouring tiles, a share of the side, below 1.
        """
        self.classes = detector.classes
        self._detector, self._tile, self._overlap = detector, tile, overlap

    def __call__(self, images: Sequence[Image]) -> list[Detections]:
        """The detections in each of some RGB images (H, W, 3) uint8; boxes in px, best first."""
        origins = [tile_origins(image.shape[:2], self._tile, self._overlap) for image in images]
        parts = [part for one, at in zip(images, origins, strict=True) for part in (one, *self._cut(one, at))]
        found = iter(self._detector(parts))
        return [self._together(next(found), at, [next(found) for _ in at]) for at in origins]

    def _cut(self, image: Image, origins: Sequence[tuple[int, int]]) -> list[Image]:
        return [image[top : top + self._tile, left : left + self._tile] for left, top in origins]

    def _together(
        self, whole: Detections, origins: Sequence[tuple[int, int]], tiles: Sequence[Detections]
    ) -> Detections:
        """What was found in an image and in its tiles, merged."""
        if not origins:
            return whole
        sides = (whole.boxes[:, 2:] - whole.boxes[:, :2]).max(axis=1, initial=0)
        large = sides > self._tile / 2
        moved = [tile.boxes + np.array(origin * 2, np.float32) for tile, origin in zip(tiles, origins, strict=True)]
        boxes = np.concatenate([whole.boxes[large], *moved])
        scores = np.concatenate([whole.scores[large], *(tile.scores for tile in tiles)])
        labels = np.concatenate([whole.labels[large], *(tile.labels for tile in tiles)])
        kept = merge(boxes, scores, labels)
        return Detections(boxes[kept], scores[kept], labels[kept], self.classes)


def tile_origins(size: tuple[int, ...], tile: int, overlap: float) -> list[tuple[int, int]]:
    """Left and top of the tiles, row by row, px; none where an image of `size` (height, width) is no larger than one.

    The tiles are evenly spread and inside the image; neighbours overlap by at least that share of a tile.
    """
    if max(size) <= tile:
        return []
    tops, lefts = (_starts(side, tile, overlap) for side in size)
    return [(left, top) for top in tops for left in lefts]


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    most = max(int(tile * (1 - overlap)), 1)  # from one tile to the next
    steps = -(-max(side - tile, 0) // most)
    return [round(step * (side - tile) / steps) for step in range(steps + 1)] if steps else [0]


def merge(boxes: Boxes, scores: NDArray[np.float32], labels: NDArray[np.int32]) -> NDArray[np.intp]:
    """The places of the detections that remain, best first, when of those that show one object the best stays.

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
            left = left[~_same(boxes[best], boxes[left])]
    places = np.array(kept, np.intp)
    return places[np.argsort(-scores[places], kind="stable")]


def _same(box: NDArray[np.float32], others: Boxes) -> NDArray[np.bool_]:
    """Whether each of some boxes (N, 4) shows the object of another box (4,)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = (high - low).clip(0).prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1)
    return (common > SAME_IOU * (area + areas - common)) | (common > SAME_INSIDE * np.minimum(area, areas))
