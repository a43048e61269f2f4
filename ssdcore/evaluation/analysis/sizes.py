"""Average precision of objects of one size.

As in `pycocotools`, objects of other sizes are ignored, and so are detections that match them and unmatched
detections that are themselves of another size.
"""

from typing import NamedTuple

import numpy as np

from ssdcore.evaluation.analysis.curves import average_precision
from ssdcore.evaluation.analysis.matched import Matched
from ssdcore.evaluation.average_precision import mean
from ssdcore.evaluation.matching import Floats, Ints

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
    objects, found = matched.objects, matched.detections
    edges = FRACTIONS if relative else AREAS
    of_object = bands(objects.relative_sizes if relative else objects.areas, edges)
    own_band = bands(found.relative_sizes if relative else found.areas, edges)
    hit = (found.own >= 0) & (found.own_iou >= matched.match_iou)
    own_band[hit] = of_object[found.own[hit]]
    table = []
    for label in range(1, matched.num_classes + 1):
        row = []
        for band in range(len(BANDS)):
            rows = found.counted & (found.labels == label) & (own_band == band)
            count = int((objects.required & (objects.labels == label) & (of_object == band)).sum())
            row.append(SizeScores(count, average_precision(found.scores[rows], found.true[rows], count, metric)))
        table.append(row)
    return table


def over_classes(table: list[list[SizeScores]]) -> list[SizeScores]:
    """For each band the objects of all classes, and the mean of the average precisions."""
    return [
        SizeScores(sum(one.objects for one in column), mean(one.average_precision for one in column))
        for column in zip(*table, strict=True)
    ]
