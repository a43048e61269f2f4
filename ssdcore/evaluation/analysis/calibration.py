"""Whether scores are the fractions of true detections that they claim to be."""

from typing import NamedTuple

import numpy as np

from ssdcore.evaluation.matching import Bools, Floats, Ints

BINS = 10


class Calibration(NamedTuple):
    """Detections by score, in bins of equal width over [0, 1]; an upper edge other than 1 belongs to the next bin.

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
    parts = [calibration(scores[chosen], true[chosen], bins).counts for chosen in (~true, true)]
    return np.stack(parts)
