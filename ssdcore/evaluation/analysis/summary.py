"""All numbers of a detector on a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssdcore.data.records.ground_truth import GroundTruth
from ssdcore.detection.detections import Detections
from ssdcore.evaluation.analysis import curves
from ssdcore.evaluation.analysis.curves import Calibration, Curve, Point
from ssdcore.evaluation.analysis.errors import KINDS, Errors, confusion_matrix, find_errors
from ssdcore.evaluation.analysis.matched import IOUS, Matched, match
from ssdcore.evaluation.analysis.sizes import BANDS, SizeScores, over_classes, scores_by_size
from ssdcore.evaluation.voc import Ints, average_precision, mean
from ssdcore.params import EvalParams

FALLBACK_SCORE = 0.5
"""Score threshold of confusion matrix and errors if no detection is true."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of a class; None where it has no objects or no detections.

    Attributes:
        objects: the required ones.
        detections: those that count, of any score.
        voc07, voc12: average precision at `match_iou`.
        at_ious: `voc12` at IoU 0.50, 0.55, ... 0.95.
        best: the threshold with the largest F1.
        curve: precision and recall.
    """

    name: str
    objects: int
    detections: int
    voc07: float | None
    voc12: float | None
    at_ious: tuple[float | None, ...]
    best: Point | None
    curve: Curve

    @property
    def over_ious(self) -> float | None:
        """Mean of `at_ious`."""
        return mean(self.at_ious)


@dataclass(frozen=True)
class Analysis:
    """Scores of a detector on a split, and what they are computed from.

    Attributes:
        classes: the scores of each class.
        best: the score threshold with the largest F1 of all classes together; None without true detections.
        at: precision, recall and F1 of all classes together at the score threshold of `confusion` and `errors`.
        confusion: (C + 1, C + 1), see `confusion_matrix`.
        errors: see `Errors`.
        calibration, histogram: of all detections that count; `calibration_above` from `at.score` on.
        by_area, by_share: for each class its scores by size in px², and relative to the image.
        matched: the matched detections and objects.
        images, difficult: numbers of images and of ignored objects.
    """

    classes: tuple[ClassScores, ...]
    best: Point | None
    at: Point
    confusion: Ints
    errors: Errors
    calibration: Calibration
    calibration_above: Calibration
    histogram: Ints
    by_area: list[list[SizeScores]]
    by_share: list[list[SizeScores]]
    matched: Matched
    images: int
    difficult: int

    def mean_of(self, value: str) -> float | None:
        """Mean of an attribute such as `voc12` over the classes that have objects."""
        return mean(getattr(one, value) for one in self.classes)

    @property
    def mean_at_ious(self) -> list[float | None]:
        """Mean over the classes of `voc12` at IoU 0.50, 0.55, ... 0.95."""
        return [mean(column) for column in zip(*(one.at_ious for one in self.classes), strict=True)]

    def error_counts(self) -> dict[str, list[int]]:
        """Number of errors of each kind, by class: that of the detection, or of the missed object."""
        objects, detections, num_classes, _ = self.matched
        table, wrong = np.zeros((len(KINDS), num_classes + 1), np.int64), self.errors.kinds >= 0
        np.add.at(table, (self.errors.kinds[wrong], detections.labels[wrong]), 1)
        np.add.at(table[KINDS.index("missed")], objects.labels[self.errors.missed], 1)
        return dict(zip(KINDS, table[:, 1:].tolist(), strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "images": self.images,
            "objects": sum(one.objects for one in self.classes),
            "difficult": self.difficult,
            "match_iou": self.matched.match_iou,
            "map": {name: self.mean_of(name) for name in ("voc07", "voc12", "over_ious")},
            "map_at_ious": {f"{least:.2f}": value for least, value in zip(IOUS, self.mean_at_ious, strict=True)},
            "best_f1": self.best and self.best._asdict(),
            "at": self.at._asdict(),
            "classes": {one.name: _class_dict(one) for one in self.classes},
            "sizes": {"area": self._sizes(self.by_area), "share": self._sizes(self.by_share)},
            "confusion": self.confusion.tolist(),
            "errors": self.error_counts(),
            "unfound": int(self.errors.unfound.sum()),
            "calibration": _calibration_dict(self.calibration),
            "calibration_above": _calibration_dict(self.calibration_above),
            "scores": dict(zip(("false", "true"), self.histogram.tolist(), strict=True)),
        }

    def _sizes(self, table: list[list[SizeScores]]) -> dict[str, Any]:
        rows = {one.name: _bands(row) for one, row in zip(self.classes, table, strict=True)}
        return {"mean": _bands(over_classes(table)), "classes": rows}


def _bands(row: Sequence[SizeScores]) -> dict[str, Any]:
    return {name: one._asdict() for name, one in zip(BANDS, row, strict=True)}


def _class_dict(one: ClassScores) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in ("objects", "detections", "voc07", "voc12", "over_ious")},
        "at_ious": list(one.at_ious),
        "best_f1": one.best and one.best._asdict(),
    }


def _calibration_dict(one: Calibration) -> dict[str, Any]:
    return {"error": one.error, **{name: getattr(one, name).tolist() for name in ("counts", "true", "mean_scores")}}


def analyse(
    images: Sequence[GroundTruth],
    detections: Sequence[Detections],
    classes: Sequence[str],
    params: EvalParams,
    score: float | None = None,
) -> Analysis:
    """Analyses detections.

    Args:
        images: their ground truth; at least one image.
        detections: those in each image.
        classes: names of classes 1..C.
        params: least IoU of a match, and the metric of scores by size: `voc07`, else `voc12`.
        score: threshold of confusion matrix and errors; None: that of the best F1.
    """
    matched = match(images, detections, len(classes), params.match_iou, params.inclusive_pixels)
    rows = matched.detections.counted
    scores, true = matched.detections.scores[rows], matched.detections.true[rows]
    required = int(matched.objects.required.sum())
    best = curves.best_f1(scores, true, required)
    chosen = score if score is not None else best.score if best else FALLBACK_SCORE
    above = scores >= chosen
    metric = "voc07" if params.metric == "voc07" else "voc12"
    return Analysis(
        classes=tuple(_score_class(matched, label, name) for label, name in enumerate(classes, start=1)),
        best=best,
        at=curves.point_at(chosen, scores, true, required),
        confusion=confusion_matrix(matched, chosen, params.inclusive_pixels),
        errors=find_errors(matched, chosen),
        calibration=curves.calibration(scores, true),
        calibration_above=curves.calibration(scores[above], true[above]),
        histogram=curves.histogram(scores, true),
        by_area=scores_by_size(matched, metric, relative=False),
        by_share=scores_by_size(matched, metric, relative=True),
        matched=matched,
        images=len(images),
        difficult=int((~matched.objects.required).sum()),
    )


def _score_class(matched: Matched, label: int, name: str) -> ClassScores:
    objects, detections, *_ = matched
    of_class = detections.labels == label
    rows = of_class & detections.counted
    scores, true = detections.scores[rows], detections.true[rows]
    required = int((objects.required & (objects.labels == label)).sum())
    at_ious = []
    for counted_at, true_at in zip(detections.counted_at.T, detections.true_at.T, strict=True):
        kept = of_class & counted_at
        at_ious.append(average_precision(detections.scores[kept], true_at[kept], required, "voc12"))
    return ClassScores(
        name=name,
        objects=required,
        detections=int(rows.sum()),
        voc07=average_precision(scores, true, required, "voc07"),
        voc12=average_precision(scores, true, required, "voc12"),
        at_ious=tuple(at_ious),
        best=curves.best_f1(scores, true, required),
        curve=curves.curve(scores, true, required),
    )
