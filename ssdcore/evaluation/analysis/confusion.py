"""The confusion matrix."""

import numpy as np

from ssdcore.evaluation.analysis.matched import Matched
from ssdcore.evaluation.matching import Ints
from ssdcore.geometry.iou import iou_matrix_xyxy


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
    objects, found = matched.objects, matched.detections
    table = np.zeros((matched.num_classes + 1,) * 2, np.int64)
    chosen = found.counted & (found.scores >= score)
    right = chosen & found.true
    np.add.at(table, (found.labels[right], found.labels[right]), 1)
    free = objects.required.copy()
    free[found.own[right]] = False
    starts = np.searchsorted(objects.images, np.arange(objects.images.max(initial=-1) + 2))
    for row in np.flatnonzero(chosen & ~found.true):
        here = _objects_of(starts, int(found.images[row]))
        overlaps = iou_matrix_xyxy(found.boxes[row], objects.boxes[here], inclusive_pixels)[0]
        overlaps[~free[here] | (objects.labels[here] == found.labels[row])] = 0
        true_label = 0
        if overlaps.max(initial=0) >= matched.match_iou:
            taken = here.start + int(overlaps.argmax())
            free[taken], true_label = False, objects.labels[taken]
        table[true_label, found.labels[row]] += 1
    table[:, 0] += np.bincount(objects.labels[free], minlength=len(table))
    return table


def _objects_of(starts: Ints, image: int) -> slice:
    """The rows of the objects of an image; none for images after the last one with objects."""
    return slice(*starts[image : image + 2].tolist()) if image + 1 < len(starts) else slice(0, 0)
