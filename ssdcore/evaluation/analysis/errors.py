"""Kinds of errors, after TIDE (Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors",
and its program's `quantify.py`), which goes back to Hoiem et al. 2012."""

from typing import NamedTuple

import numpy as np

from ssdcore.evaluation.analysis.matched import Matched
from ssdcore.evaluation.matching import Bools, Ints

BACKGROUND_IOU = 0.1
"""IoU below which a detection is on background."""

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")


class Errors(NamedTuple):
    """The errors among detections of at least some score.

    Attributes:
        kinds: (N,) int64, index in `KINDS` for each detection; -1 for true ones, those that do not count and those
            of lower scores.
        objects: (N,) int64, the object that the error is about; -1 without one.
        unfound: (M,) bool, required objects without a true detection.
        missed: (M,) bool, those of them that no classification or localisation error explains.
    """

    kinds: Ints
    objects: Ints
    unfound: Bools
    missed: Bools

    def counts(self, labels: Ints, of_object: Ints, num_classes: int) -> Ints:
        """(6, C) int64 by kind and class: that of the detection, or of the missed object."""
        table = np.zeros((len(KINDS), num_classes + 1), np.int64)
        wrong = self.kinds >= 0
        np.add.at(table, (self.kinds[wrong], labels[wrong]), 1)
        np.add.at(table[KINDS.index("missed")], of_object[self.missed], 1)
        return table[:, 1:]


def find_errors(matched: Matched, score: float) -> Errors:
    """Classifies the false detections of at least `score`, and finds missed objects.

    With `own` and `other`, the largest IoU with an object of its own and of another class, a false detection is, by
    the first rule that applies:

    - localisation: 0.1 <= own < match_iou;
    - classification: other >= match_iou;
    - duplicate: own >= match_iou, so a better one has matched the object;
    - background: both below 0.1;
    - both (class and location are wrong): otherwise.

    Ignored objects are considered as well, but are never missed.
    """
    objects, found, least = matched.objects, matched.detections, matched.match_iou
    wrong = found.counted & ~found.true & (found.scores >= score)
    own, other = found.own_iou, found.other_iou
    rules = [
        ("localisation", (own >= BACKGROUND_IOU) & (own < least)),
        ("classification", other >= least),
        ("duplicate", own >= least),
        ("background", np.maximum(own, other) < BACKGROUND_IOU),
        ("both", np.ones(len(own), bool)),
    ]
    kinds = np.select([rule for _, rule in rules], [KINDS.index(name) for name, _ in rules])
    of_other = np.isin(kinds, [KINDS.index("classification"), KINDS.index("both")])
    blamed = np.where(kinds == KINDS.index("background"), -1, np.where(of_other, found.other, found.own))
    kinds, blamed = np.where(wrong, kinds, -1), np.where(wrong, blamed, -1)
    unfound = objects.required.copy()
    unfound[found.own[found.true & (found.scores >= score)]] = False
    missed = unfound.copy()
    missed[blamed[np.isin(kinds, [KINDS.index("classification"), KINDS.index("localisation")])]] = False
    return Errors(kinds, blamed, unfound, missed)
