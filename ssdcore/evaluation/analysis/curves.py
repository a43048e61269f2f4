"""Precision, recall and F1 over the score threshold, and calibration of the scores."""

from typing import NamedTuple

import numpy as np

from ssdcore.evaluation.voc import Bools, Floats, Ints, precision_recall

BINS = 10
"""Of calibration."""


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
    hits, counts = true.cumsum(), np.arange(1, len(true) + 1)
    last = np.append(scores[1:] < scores[:-1], True)
    f1 = np.where(last, 2 * hits / (counts + objects), -1)
    best = int(f1.argmax())
    right = int(hits[best])
    return Point(float(scores[best]), right / (best + 1), right / objects, float(f1[best]))


def point_at(score: float, scores: Floats, true: Bools, objects: int) -> Point:
    """Precision (1 without detections), recall (0 without objects) and F1 of detections of at least a score."""
    chosen = scores >= score
    count, right = int(chosen.sum()), int(true[chosen].sum())
    return Point(score, right / count if count else 1.0, right / max(objects, 1), 2 * right / max(count + objects, 1))


class Calibration(NamedTuple):
    """Whether scores are the fractions of true detections that they claim to be.

    Bins have equal width over [0, 1]; an upper edge other than 1 belongs to the next bin.

    Attributes:
        counts: (B,) int64, detections in each bin.
        true: (B,) int64, the true ones of them.
        mean_scores: (B,) float64, 0 in empty bins.
        error: expected calibration error, the mean over all detections of |fraction of true ones in their bin -
            mean score of their bin| (Naeini et al. 2015, Guo et al. 2017); None without detections.
    """

    counts: Ints
    true: Ints
    mean_scores: Floats
    error: float | None

    @property
    def precision(self) -> Floats:
        """(B,) fraction of true detections, 0 in empty bins."""
        return self.true / np.maximum(self.counts, 1)


def calibration(scores: Floats, true: Bools, bins: int = BINS) -> Calibration:
    """Calibration of scores (N,) in [0, 1] of detections that are `true` (N,) or false."""
    bin_of = np.minimum((scores * bins).astype(np.int64), bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    right = np.bincount(bin_of[true], minlength=bins)
    sums = np.bincount(bin_of, scores, minlength=bins)
    error = float(np.abs(right - sums).sum() / len(scores)) if len(scores) else None
    return Calibration(counts, right, sums / np.maximum(counts, 1), error)


def histogram(scores: Floats, true: Bools, bins: int = 2 * BINS) -> Ints:
    """(2, bins) int64: false and true detections by score, in the bins of `calibration`."""
    return np.stack([calibration(scores[chosen], true[chosen], bins).counts for chosen in (~true, true)])
