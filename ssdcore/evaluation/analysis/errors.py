"""Kinds of errors, and the confusion matrix.

The kinds are after TIDE (Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors", and its
program's `quantify.py`), which goes back to Hoiem et al. 2012.
"""

from typing import NamedTuple

import numpy as np

from ssdcore.evaluation.analysis.matched import Matched
from ssdcore.evaluation.voc import Bools, Ints
from ssdcore.geometry.iou import iou_matrix_xyxy

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
    objects, detections, least = matched.objects, matched.detections, matched.match_iou
    wrong = detections.counted & ~detections.true & (detections.scores >= score)
    own, other = detections.own_iou, detections.other_iou
    rules = [
        ("localisation", (own >= BACKGROUND_IOU) & (own < least)),
        ("classification", other >= least),
        ("duplicate", own >= least),
        ("background", np.maximum(own, other) < BACKGROUND_IOU),
        ("both", np.ones(len(own), bool)),
    ]
    kinds = np.select([rule for _, rule in rules], [KINDS.index(name) for name, _ in rules])
    of_other = np.isin(kinds, [KINDS.index("classification"), KINDS.index("both")])
    blamed = np.where(kinds == KINDS.index("background"), -1, np.where(of_other, detections.other, detections.own))
    kinds, blamed = np.where(wrong, kinds, -1), np.where(wrong, blamed, -1)
    unfound = objects.required.copy()
    unfound[detections.own[detections.true & (detections.scores >= score)]] = False
    missed = unfound.copy()
    missed[blamed[np.isin(kinds, [KINDS.index("classification"), KINDS.index("localisation")])]] = False
    return Errors(kinds, blamed, unfound, missed)


def confusion_matrix(matched: Matched, score: float, inclusive_pixels: bool = False) -> Ints:
    """Objects by true class and detected class, from detections of at least `score`.

    True detections, by the same rule as average precision, are the diagonal. Every other detection, best score
    first, takes the object of another class that it overlaps most, of those not yet taken, if the IoU is enough for
    a match. Detections without an object are in row 0, objects without a detection in column 0. Ignored objects
    and detections matched with them are left out: a row above 0 adds up to the objects of its class, a column to
    the detections.

    Returns:
        (C + 1, C + 1) int64, [true class, detected class]; class 0 is background.
    """
    objects, detections = matched.objects, matched.detections
    table = np.zeros((matched.num_classes + 1,) * 2, np.int64)
    chosen = detections.counted & (detections.scores >= score)
    right = chosen & detections.true
    np.add.at(table, (detections.labels[right], detections.labels[right]), 1)
    free = objects.required.copy()
    free[detections.own[right]] = False
    for row in np.flatnonzero(chosen & ~detections.true):
        image = detections.images[row]
        here = slice(*np.searchsorted(objects.images, (image, image + 1)).tolist())
        overlaps = iou_matrix_xyxy(detections.boxes[row], objects.boxes[here], inclusive_pixels)[0]
        overlaps[~free[here] | (objects.labels[here] == detections.labels[row])] = 0
        true_label = 0
        if overlaps.max(initial=0) >= matched.match_iou:
            taken = here.start + int(overlaps.argmax())
            free[taken], true_label = False, objects.labels[taken]
        table[true_label, detections.labels[row]] += 1
    table[:, 0] += np.bincount(objects.labels[free], minlength=len(table))
    return table
