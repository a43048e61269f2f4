"""Precision, recall and F1 over the score threshold."""

from typing import NamedTuple

import numpy as np

from ssdcore.evaluation.average_precision import (
    average_precision_voc07,
    average_precision_voc12,
    precision_recall,
)
from ssdcore.evaluation.matching import Bools, Floats

RULES = {"voc07": average_precision_voc07, "voc12": average_precision_voc12}


class Point(NamedTuple):
    """Precision, recall and their harmonic mean F1 of detections of at least `score`, all in [0, 1]."""

    score: float
    precision: float
    recall: float
    f1: float


class Curve(NamedTuple):
    """Precision and recall (N,) over falling scores (N,), at the true detections and the last one.

    Between two true detections precision only falls, so average precision depends on these points only.
    """

    scores: Floats
    precision: Floats
    recall: Floats


def average_precision(scores: Floats, true: Bools, objects: int, metric: str) -> float | None:
    """Average precision by `voc07` or `voc12` of detections (N,) in order; None without objects."""
    return RULES[metric](*precision_recall(scores, true, objects)) if objects else None


def curve(scores: Floats, true: Bools, objects: int) -> Curve:
    """The precision-recall curve of detections (N,), best first; empty without objects."""
    if not objects or not len(scores):
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    precision, recall = precision_recall(scores, true, objects)
    shown = true.copy()
    shown[-1] = True
    return Curve(scores[shown], precision[shown], recall[shown])


def best_f1(scores: Floats, true: Bools, objects: int) -> Point | None:
    """The score threshold with the largest F1, the highest one of several; None where nothing is true.

    Detections (N,) come best first; those of equal scores pass a threshold together.
    """
    if not true.any():
        return None
    hits, found = true.cumsum(), np.arange(1, len(true) + 1)
    last = np.append(scores[1:] < scores[:-1], True)
    f1 = np.where(last, 2 * hits / (found + objects), -1)
    best = int(f1.argmax())
    right = int(hits[best])
    return Point(float(scores[best]), right / (best + 1), right / objects, float(f1[best]))


def point_at(score: float, scores: Floats, true: Bools, objects: int) -> Point:
    """Precision (1 without detections), recall (0 without objects) and F1 of detections of at least a score."""
    chosen = scores >= score
    found, right = int(chosen.sum()), int(true[chosen].sum())
    return Point(score, right / found if found else 1.0, right / max(objects, 1), 2 * right / max(found + objects, 1))
