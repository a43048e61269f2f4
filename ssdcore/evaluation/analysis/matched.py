"""All detections and objects of a split as flat arrays, matched with each other image by image."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssdcore.evaluation.ground_truth import Found, Truth
from ssdcore.evaluation.matching import Bools, Floats, Numbers, iou, judge, nearest

IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""COCO's IoUs, 0.50, 0.55, ... 0.95."""


class Objects(NamedTuple):
    """What is to be found in all images, (M,) each, in the order of the images.

    Attributes:
        images: int64, place of the image.
        labels: int64, 1..C.
        boxes: (M, 4) float64 xyxy, px.
        areas: float64, px².
        shares: float64, sqrt(area of the box / area of the image).
        required: bool; False: difficult objects and groups, which count neither way.
    """

    images: Numbers
    labels: Numbers
    boxes: Floats
    areas: Floats
    shares: Floats
    required: Bools


class Detections(NamedTuple):
    """What was found in all images, (N,) each, best score first, equal ones in the order of the images.

    Attributes:
        images, labels, boxes, areas, shares: as of objects.
        scores: float64.
        own, own_iou: the object (int64, -1: none) of its class that each overlaps most, and the IoU (0 without one).
        other, other_iou: the same of objects of other classes.
        counted: bool; False: matched with an object that counts neither way.
        true: bool.
        counted_at, true_at: (N, 10) bool, the same at `IOUS`.
    """

    images: Numbers
    labels: Numbers
    boxes: Floats
    areas: Floats
    shares: Floats
    scores: Floats
    own: Numbers
    own_iou: Floats
    other: Numbers
    other_iou: Floats
    counted: Bools
    true: Bools
    counted_at: Bools
    true_at: Bools


class Matched(NamedTuple):
    """The objects and detections of a split, the number of its classes, and the least IoU of a match."""

    objects: Objects
    detections: Detections
    num_classes: int
    match_iou: float


def match(
    truths: Sequence[Truth], found: Sequence[Found], num_classes: int, match_iou: float, inclusive_pixels: bool = False
) -> Matched:
    """Matches what was found in each image with what is there; see `EvalParams` for the last two."""
    first_objects = np.cumsum([0, *(len(truth.labels) for truth in truths)]).tolist()
    arrivals = np.cumsum([0, *(len(one.labels) for one in found)]).tolist()
    places, parts = [np.zeros(0, np.int64)], [_NONE]
    for image, (truth, one) in enumerate(zip(truths, found, strict=True)):
        places.append(arrivals[image] + np.arange(len(one.labels)) if one.places is None else one.places)
        placed = one._replace(places=places[-1])
        parts.append(_match_image((image, first_objects[image]), truth, placed, match_iou, inclusive_pixels))
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    together = Detections(*columns)
    order = np.lexsort((np.concatenate(places), -together.scores))
    return Matched(_objects(truths), _rows(together, order), num_classes, match_iou)


def _rows(detections: Detections, order: Numbers) -> Detections:
    columns: list[Any] = [column[order] for column in detections]
    return Detections(*columns)


def _objects(truths: Sequence[Truth]) -> Objects:
    boxes = np.concatenate([np.zeros((0, 4)), *(truth.boxes for truth in truths)])
    counts = [len(truth.labels) for truth in truths]
    areas = _areas(boxes)
    return Objects(
        np.repeat(np.arange(len(truths)), counts),
        np.concatenate([np.zeros(0, np.int64), *(truth.labels for truth in truths)]),
        boxes,
        areas,
        np.sqrt(areas / np.repeat([truth.size[0] * truth.size[1] for truth in truths], counts)),
        np.concatenate([np.zeros(0, bool), *(~truth.optional for truth in truths)]),
    )


def _areas(boxes: NDArray[np.floating]) -> Floats:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1), np.float64)


def _match_image(
    numbers: tuple[int, int], truth: Truth, found: Found, match_iou: float, inclusive_pixels: bool
) -> Detections:
    """The detections of an image; `numbers` are its own and that of its first object."""
    (image, start), places = numbers, np.zeros(0, np.int64) if found.places is None else found.places
    overlaps = iou(found.boxes, truth.boxes, inclusive_pixels)
    same = found.labels[:, None] == truth.labels[None, :]
    own, other = nearest(overlaps, same), nearest(overlaps, ~same)
    judged = [judge(*own, found.scores, places, truth.optional, least) for least in (match_iou, *IOUS)]
    areas = _areas(found.boxes)
    return Detections(
        images=np.full(len(places), image),
        labels=found.labels,
        boxes=found.boxes,
        areas=areas,
        shares=np.sqrt(areas / (truth.size[0] * truth.size[1])),
        scores=found.scores,
        own=np.where(own[0] < 0, -1, own[0] + start),
        own_iou=own[1],
        other=np.where(other[0] < 0, -1, other[0] + start),
        other_iou=other[1],
        counted=judged[0].counted,
        true=judged[0].true,
        counted_at=np.stack([one.counted for one in judged[1:]], axis=1),
        true_at=np.stack([one.true for one in judged[1:]], axis=1),
    )


_NO_TRUTH = Truth("", (1, 1), np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, bool))
_NOTHING = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
_NONE = _match_image((0, 0), _NO_TRUTH, _NOTHING, 0.5, False)
