"""Average precision of objects of one size.

As in `pycocotools`, objects of other sizes are ignored, and so are detections that match them and unmatched
detections that are themselves of another size.
"""

from typing import NamedTuple

import numpy as np

from ssdcore.evaluation.analysis.matched import Matched
from ssdcore.evaluation.voc import Floats, Ints, average_precision, mean

BANDS = ("small", "medium", "large")

AREAS = (32.0**2, 96.0**2)
"""COCO's limits between sizes, px² of the original image. A limit is medium; `pycocotools` counts it in both."""

FRACTIONS = (0.1, 0.3)
"""Limits between relative sizes: sqrt(area of the box / area of the image), the side of a square in a square image."""


class SizeScores(NamedTuple):
    """Required objects of one size and class, and average precision, None without any."""

    objects: int
    average_precision: float | None


def bands(sizes: Floats, edges: tuple[float, float]) -> Ints:
    """(N,) 0, 1 or 2 for small, medium and large; a limit is medium."""
    return (sizes >= edges[0]).astype(np.int64) + (sizes > edges[1])


def scores_by_size(matched: Matched, metric: str, relative: bool) -> list[list[SizeScores]]:
    """The scores of each class 1..C and band, by area in px² or by relative size."""
    objects, detections, num_classes, match_iou = matched
    edges = FRACTIONS if relative else AREAS
    of_object = bands(objects.relative_sizes if relative else objects.areas, edges)
    own_band = bands(detections.relative_sizes if relative else detections.areas, edges)
    hit = (detections.own >= 0) & (detections.own_iou >= match_iou)
    own_band[hit] = of_object[detections.own[hit]]

    def scores(label: int, band: int) -> SizeScores:
        rows = detections.counted & (detections.labels == label) & (own_band == band)
        count = int((objects.required & (objects.labels == label) & (of_object == band)).sum())
        return SizeScores(count, average_precision(detections.scores[rows], detections.true[rows], count, metric))

    return [[scores(label, band) for band in range(len(BANDS))] for label in range(1, num_classes + 1)]


def over_classes(table: list[list[SizeScores]]) -> list[SizeScores]:
    """For each band the objects of all classes, and the mean of the average precisions."""
    return [
        SizeScores(sum(one.objects for one in column), mean(one.average_precision for one in column))
        for column in zip(*table, strict=True)
    ]
