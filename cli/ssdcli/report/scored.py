"""Evaluates a model on a split and keeps what a report shows of it; images are not kept."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssdcli.options import Images
from ssdcore.contract.plugins import Plugins
from ssdcore.detection import Detections
from ssdcore.evaluation import Evaluation
from ssdcore.evaluation.analysis import Analysis, analyse
from ssdcore.evaluation.analysis.errors import KINDS
from ssdcore.evaluation.evaluate import Evaluator, was_chosen_on
from ssdcore.runs.checkpoint import Checkpoint, load_checkpoint, restore_model
from ssdcore.runs.run_folder import RunFolder, Scores, find_checkpoint
from ssdcore.types import OnProgress

Box = tuple[float, float, float, float]


class LabelledBox(NamedTuple):
    """A ground-truth box or a detection: its row among all, class, xyxy in px of the image, and area in px²."""

    row: int
    name: str
    box: Box
    area: float


class ErrorCase(NamedTuple):
    """A false detection or a missed object.

    Attributes:
        kind: of `KINDS`.
        image: index of the image.
        detection: the false detection; of a missed object the best-scoring one of its class that overlaps it by the
            IoU of a match, whatever its score; None without one.
        score: of the detection.
        truth: the object that the error concerns; None without one.
        iou: of the two; without an object the largest IoU with any.
    """

    kind: str
    image: int
    detection: LabelledBox | None
    score: float | None
    truth: LabelledBox | None
    iou: float | None


@dataclass(frozen=True)
class ScoredModel:
    """A model's scores.

    Attributes:
        label: its name in the report.
        checkpoint: without its arrays.
        evaluation: what `ssd eval` prints.
        analysis: the numbers in detail.
        image_names: of the images, in the order of the records.
        steps: (step, mAP) of the evaluations during training, see `RunFolder.scores`; empty where unknown.
        chosen_here: the checkpoint was chosen by its score on this very data.
    """

    label: str
    checkpoint: Checkpoint
    evaluation: Evaluation
    analysis: Analysis
    image_names: list[str]
    steps: Scores
    chosen_here: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        evaluation = self.evaluation
        return {
            "model": self.label,
            "checkpoint": str(self.checkpoint.path),
            "step": self.checkpoint.progress.get("step"),
            "chosen_on_this_split": self.chosen_here,
            "metric": evaluation.metric,
            "mean_average_precision": evaluation.mean_average_precision,
            "score_threshold": evaluation.score_threshold,
            "coco": evaluation.coco,
            **self.analysis.as_dict(),
            "steps": {name: [list(point) for point in points] for name, points in self.steps.items()},
        }

    @property
    def error_total(self) -> int:
        """Errors of all kinds and classes."""
        return sum(map(sum, self.analysis.error_counts().values()))

    def errors(self) -> Iterator[ErrorCase]:
        """False detections from the score threshold on, best first, then missed objects."""
        errors, (truth, detections, *_) = self.analysis.errors, self.analysis.matched
        for row in np.flatnonzero(errors.kinds >= 0).tolist():
            concerned = int(errors.objects[row])
            own, other = detections.own_iou[row], detections.other_iou[row]
            iou = max(own, other) if concerned < 0 else own if concerned == detections.own[row] else other
            about = self._labelled(truth, concerned) if concerned >= 0 else None
            image, score, kind = int(detections.images[row]), float(detections.scores[row]), KINDS[errors.kinds[row]]
            yield ErrorCase(kind, image, self._labelled(detections, row), score, about, float(iou))
        yield from self._missed()

    def boxes_in(self, image: int) -> tuple[list[LabelledBox], list[LabelledBox]]:
        """Ground truth of an image, and its detections from the score threshold on."""
        truth, detections, *_ = self.analysis.matched
        shown = (detections.images == image) & (detections.scores >= self.analysis.at.score)
        return (
            [self._labelled(truth, row) for row in np.flatnonzero(truth.images == image).tolist()],
            [self._labelled(detections, row) for row in np.flatnonzero(shown).tolist()],
        )

    def _missed(self) -> Iterator[ErrorCase]:
        truth, detections, _, match_iou = self.analysis.matched
        near = np.flatnonzero((detections.own >= 0) & (detections.own_iou >= match_iou))
        objects, first = np.unique(detections.own[near], return_index=True)
        nearest = dict(zip(objects.tolist(), near[first].tolist(), strict=True))
        for index in np.flatnonzero(self.analysis.errors.missed).tolist():
            detection, score, iou = None, None, None
            if (row := nearest.get(index)) is not None:
                detection, score = self._labelled(detections, row), float(detections.scores[row])
                iou = float(detections.own_iou[row])
            yield ErrorCase("missed", int(truth.images[index]), detection, score, self._labelled(truth, index), iou)

    def _labelled(self, boxes: Any, row: int) -> LabelledBox:
        name = self.checkpoint.classes[boxes.labels[row] - 1]
        left, top, right, bottom = boxes.boxes[row].tolist()
        return LabelledBox(row, name, (left, top, right, bottom), float(boxes.areas[row]))


def score_model(
    path: Path, label: str, images: Images, score: float | None, plugins: Plugins, on_batch: OnProgress
) -> ScoredModel:
    """Evaluates a run folder or checkpoint.

    Args:
        path: the run folder or checkpoint.
        label: its name in the report.
        images: what to evaluate on.
        score: threshold from which detections count in the confusion matrix and as errors; None: that of the best F1.
        plugins: the installed plugins.
        on_batch: progress, with images done and images in all.

    Raises:
        CheckpointError: there is no checkpoint, or the data has other classes.
        DataError: the data is missing or damaged.
    """
    checkpoint = load_checkpoint(find_checkpoint(path))
    params = checkpoint.params.eval
    evaluator = Evaluator(restore_model(checkpoint, plugins), images.data, images.split, params, images.max_images)
    detections: list[Detections] = []
    evaluation = evaluator.run(on_batch, lambda truth, one: detections.append(one))
    return ScoredModel(
        label=label,
        checkpoint=replace(checkpoint, arrays={}),
        evaluation=evaluation,
        analysis=analyse(evaluator.images, detections, checkpoint.classes, params, score),
        image_names=[truth.name for truth in evaluator.images],
        steps=RunFolder(path).scores(),
        chosen_here=was_chosen_on(checkpoint, images.data, images.split),
    )
