"""Runs a detector over a split and scores it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssdcore.data.manifest import Manifest
from ssdcore.data.pipeline import EvalBatch, evaluation_batches, read_records, whole
from ssdcore.detection.predict import make_predict
from ssdcore.errors import CheckpointError
from ssdcore.evaluation.average_precision import AveragePrecision, mean
from ssdcore.model import SSD
from ssdcore.model.postprocess import DetectionBatch
from ssdcore.params import EvalParams

OnBatch = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """The scores of a detector on a split.

    Attributes:
        metric: `voc07` or `voc12`.
        mean_average_precision: over the classes that occur; None if none does.
        average_precisions: class name -> value, None where the class does not occur.
        match_iou, score_threshold: what they were computed with.
        images, objects, difficult: how many were seen; `objects` without the difficult ones.
    """

    metric: str
    mean_average_precision: float | None
    average_precisions: dict[str, float | None]
    match_iou: float
    score_threshold: float
    images: int
    objects: int
    difficult: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class Evaluator:
    """Scores a detector on a split of converted data, as often as its weights change."""

    def __init__(self, ssd: SSD, folder: Path, split: str, params: EvalParams) -> None:
        """Prepares an evaluation.

        Args:
            ssd: the detector.
            folder: of records, with a manifest.
            split: name of the split.
            params: post-processing and metric.

        Raises:
            DataError: folder or split are missing.
            CheckpointError: the data has other classes than the detector.
        """
        manifest = Manifest.load(folder)
        check_classes(ssd.classes, manifest.classes, folder)
        self.classes = ssd.classes
        self.params = params
        self.images = manifest.split(split).images
        self._batches = evaluation_batches(
            read_records(folder, split), ssd.params.model.image_size, ssd.params.data.resize, params.batch_size
        )
        self._where = (folder, split)
        self._predict = make_predict(ssd, params)

    def run(self, on_batch: OnBatch = lambda done, total: None) -> Evaluation:
        """Evaluates with the weights that the detector has now.

        Args:
            on_batch: progress, with pictures done and pictures in all.
        """
        tally = AveragePrecision(len(self.classes), self.params.match_iou)
        images = objects = difficult = 0
        for batch in whole(self._batches, *self._where):
            found = DetectionBatch(*(part.numpy() for part in self._predict(batch.images, batch.windows)))
            truth = EvalBatch(*(part.numpy() for part in batch))
            _add_batch(tally, found, truth)
            images += len(truth.labels)
            difficult += int(truth.difficult.sum())
            objects += int(((truth.labels > 0) & ~truth.difficult).sum())
            on_batch(images, self.images)
        results = tally.result(self.params.metric)
        return Evaluation(
            metric=self.params.metric,
            mean_average_precision=mean(results.values()),
            average_precisions=dict(zip(self.classes, results.values(), strict=True)),
            match_iou=self.params.match_iou,
            score_threshold=self.params.score_threshold,
            images=images,
            objects=objects,
            difficult=difficult,
        )


def check_classes(model: tuple[str, ...], data: tuple[str, ...], folder: Path) -> None:
    """Refuses data whose class list is not the model's.

    Raises:
        CheckpointError: naming both lists.
    """
    if model != data:
        raise CheckpointError(
            f"the model knows the classes {', '.join(model)}; the data in {folder.absolute()} has "
            f"{', '.join(data)}; convert the data with --classes {','.join(model)}, or train on this data"
        )


def _add_batch(tally: AveragePrecision, found: DetectionBatch, truth: EvalBatch) -> None:
    """Adds each picture of a batch, in pixels of the original."""
    for index, count in enumerate(found.counts):
        height, width = truth.sizes[index]
        sides = np.array([width, height, width, height], np.float32)
        real = truth.labels[index] > 0
        tally.add(
            found.boxes[index, :count] * sides,
            found.scores[index, :count],
            found.labels[index, :count],
            truth.boxes[index][real] * sides,
            truth.labels[index][real],
            truth.difficult[index][real],
        )
