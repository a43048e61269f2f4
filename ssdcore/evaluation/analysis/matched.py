"""All detections and objects of a split as flat arrays, matched image by image."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssdcore.data.records.ground_truth import GroundTruth
from ssdcore.detection.detections import Detections
from ssdcore.evaluation.voc import Bools, Floats, Ints, best_overlaps, match_detections, overlaps_of

IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""COCO's IoUs, 0.50, 0.55, ... 0.95."""


class ObjectTable(NamedTuple):
    """The objects in all images, (M,) each, in the order of the images.

    Attributes:
        images: int64, index of the image.
        labels: int64, 1..C.
        boxes: (M, 4) float64 xyxy, px.
        areas: float64, px².
        relative_sizes: float64, sqrt(area of the box / area of the image).
        required: bool; False: ignored objects.
    """

    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: Floats
    areas: Floats
    relative_sizes: Floats
    required: Bools


class DetectionTable(NamedTuple):
    """The detections in all images, (N,) each, best score first, equal ones in the order of the images.

    Attributes:
        images, labels, boxes, areas, relative_sizes: as of objects.
        scores: float64.
        own, own_iou: the object (int64, -1: none) of its class that each overlaps most, and the IoU (0 without one).
        other, other_iou: the same of objects of other classes.
        counted: bool; False: matched with an ignored object.
        true: bool.
        counted_at, true_at: (N, 10) bool, the same at `IOUS`.
    """

    images: Ints
    labels: Ints
    boxes: Floats
    areas: Floats
    relative_sizes: Floats
    scores: Floats
    own: Ints
    own_iou: Floats
    other: Ints
    other_iou: Floats
    counted: Bools
    true: Bools
    counted_at: Bools
    true_at: Bools


class Matched(NamedTuple):
    """The objects and detections of a split, the number of its classes, and the least IoU of a match."""

    objects: ObjectTable
    detections: DetectionTable
    num_classes: int
    match_iou: float


def match(
    images: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    match_iou: float,
    inclusive_pixels: bool = False,
) -> Matched:
    """Matches the detections in each image with its objects; see `EvalParams` for the last two."""
    # One more image, without boxes, so that there is something to concatenate.
    images, detections = [*images, _NO_OBJECTS], [*detections, _NO_DETECTIONS]
    objects = ObjectTable(**_boxes(images, images), required=~np.concatenate([truth.ignored for truth in images]))
    first_objects = np.searchsorted(objects.images, np.arange(len(images))).tolist()
    rows = zip(first_objects, images, detections, strict=True)
    parts = [_match_image(*row, match_iou, inclusive_pixels) for row in rows]
    columns = _boxes(images, detections) | {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(-columns["scores"], kind="stable")
    table = DetectionTable(**{name: column[order] for name, column in columns.items()})
    return Matched(objects, table, num_classes, match_iou)


def _boxes(images: Sequence[GroundTruth], boxed: Sequence[GroundTruth] | Sequence[Detections]) -> dict[str, Any]:
    """The columns that objects and detections have in common."""
    index = np.repeat(np.arange(len(images)), [len(one.labels) for one in boxed])
    boxes = np.concatenate([one.boxes for one in boxed])
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    pixels = np.array([truth.size[0] * truth.size[1] for truth in images])[index]
    sizes, labels = np.sqrt(areas / pixels), np.concatenate([one.labels for one in boxed])
    return {"images": index, "labels": labels, "boxes": boxes, "areas": areas, "relative_sizes": sizes}


def _match_image(
    first_object: int, truth: GroundTruth, detections: Detections, match_iou: float, inclusive_pixels: bool
) -> dict[str, Any]:
    """The other columns of an image's detections; `first_object` is the row of its first object."""
    scores = detections.scores.astype(np.float64)
    overlaps = overlaps_of(truth, detections, inclusive_pixels)
    same = detections.labels[:, None] == truth.labels[None, :]
    own, other = best_overlaps(overlaps, same), best_overlaps(overlaps, ~same)
    matches = [match_detections(*own, scores, truth.ignored, least) for least in (match_iou, *IOUS)]
    counted, true = (np.stack(column, axis=1) for column in zip(*matches, strict=True))
    return {
        "scores": scores,
        "own": np.where(own[0] < 0, -1, own[0] + first_object),
        "own_iou": own[1],
        "other": np.where(other[0] < 0, -1, other[0] + first_object),
        "other_iou": other[1],
        "counted": counted[:, 0],
        "true": true[:, 0],
        "counted_at": counted[:, 1:],
        "true_at": true[:, 1:],
    }


_NO_OBJECTS = GroundTruth("", (1, 1), np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, bool))
_NO_DETECTIONS = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), ())
