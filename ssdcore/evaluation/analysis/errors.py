"""Kinds of errors, after TIDE (Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors",
and its program's `quantify.py`), which goes back to Hoiem et al. 2012."""

from typing import NamedTuple

import numpy as np

from ssdcore.evaluation.analysis.matched import Matched
from ssdcore.evaluation.matching import Bools, Numbers

BACKGROUND_IOU = 0.1
"""Less overlap than this is background."""

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")


class Errors(NamedTuple):
    """The errors of detections of at least some score.

    Attributes:
        kinds: (N,) int64, place in `KINDS` for each detection; -1 for true ones, ones that count neither way and
            ones of lower scores.
        objects: (N,) int64, the object that is to blame; -1 without one.
        unfound: (M,) bool, objects that needed to be found and were not.
        missed: (M,) bool, those of them that no classification or localisation error explains.
    """

    kinds: Numbers
    objects: Numbers
    unfound: Bools
    missed: Bools

    def counts(self, labels: Numbers, of_object: Numbers, num_classes: int) -> Numbers:
        """(6, C) int64 by kind and class: of the detection, of the object if it is missed."""
        table = np.zeros((len(KINDS), num_classes + 1), np.int64)
        wrong = self.kinds >= 0
        np.add.at(table, (self.kinds[wrong], labels[wrong]), 1)
        np.add.at(table[KINDS.index("missed")], of_object[self.missed], 1)
        return table[:, 1:]


def find_errors(matched: Matched, score: float) -> Errors:
    """Says of what kind each false detection of at least `score` is, and which objects were missed.

    With `own` and `other`, the largest IoU with an object of its own and of another class, a false detection is, by
    the first that fits:

    - localisation: 0.1 <= own < match_iou;
    - classification: other >= match_iou;
    - duplicate: own >= match_iou, so that a better one has the object;
    - background: both below 0.1;
    - both (class and place are wrong): else.

    Objects that need not be found are looked at as well, but are never missed.
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
