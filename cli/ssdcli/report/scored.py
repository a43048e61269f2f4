"""Runs a model over a split and keeps what a report says about it; images are not kept."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssdcli.splits import was_chosen_on
from ssdcore.contract.plugins import Plugins
from ssdcore.data.records.ground_truth import GroundTruth
from ssdcore.detection import Detections
from ssdcore.evaluation import Evaluation, Evaluator
from ssdcore.evaluation.analysis import Analysis, analyse
from ssdcore.model import build_ssd
from ssdcore.runs.checkpoint import Checkpoint, assign_weights, load_checkpoint
from ssdcore.runs.run_folder import RunFolder, find_checkpoint
from ssdcore.training.metrics import read_lines

OnBatch = Callable[[int, int], None]


@dataclass(frozen=True)
class Where:
    """What to score on.

    Attributes:
        data: folder of records.
        split: its name.
        max_images: the first so many only.
        score: from which on detections count in confusions and errors; None: that of the best F1.
    """

    data: Path
    split: str
    max_images: int | None
    score: float | None


@dataclass(frozen=True)
class Scored:
    """A model's scores.

    Attributes:
        label: what it is called in the report.
        checkpoint: without its arrays.
        evaluation: what `ssd eval` says.
        analysis: where that comes from.
        truths: the images.
        steps: (step, mAP) of the evaluations while it was trained, see `read_steps`; empty where that is not known.
        chosen_here: the checkpoint was chosen by its score on this very data.
    """

    label: str
    checkpoint: Checkpoint
    evaluation: Evaluation
    analysis: Analysis
    truths: list[GroundTruth]
    steps: dict[str, list[tuple[int, float]]]
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


def open_model(path: Path) -> Checkpoint:
    """The checkpoint that a path means."""
    return load_checkpoint(find_checkpoint(path))


def score_model(path: Path, label: str, where: Where, plugins: Plugins, on_batch: OnBatch) -> Scored:
    """Scores a run folder or checkpoint.

    Raises:
        CheckpointError: there is none, or the data has other classes.
        DataError: the data is missing or damaged.
    """
    checkpoint = open_model(path)
    ssd = build_ssd(checkpoint.params, checkpoint.classes, plugins)
    assign_weights(ssd, checkpoint, True)
    evaluator = Evaluator(ssd, where.data, where.split, checkpoint.params.eval, where.max_images)
    found: list[Detections] = []
    evaluation = evaluator.run(on_batch, lambda truth, one: found.append(one))
    analysis = analyse(evaluator.images, found, checkpoint.classes, checkpoint.params.eval, where.score)
    return Scored(
        label=label,
        checkpoint=replace(checkpoint, arrays={}),
        evaluation=evaluation,
        analysis=analysis,
        truths=evaluator.images,
        steps=read_steps(RunFolder(path)),
        chosen_here=was_chosen_on(checkpoint, where.data, where.split),
    )


def read_steps(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Step and mAP of each evaluation that a run folder tells of, in the order of the steps.

    Those of training itself are called `training`, those of programs that watched it as their rows are. Rows that
    make no sense are left out: the last one may still be being written.
    """
    series: dict[str, list[tuple[int, float]]] = {}
    for line in read_lines(run.metrics):
        if point := _point(line.fields):
            series.setdefault(f"watch {line.watch}" if line.watch else "training", []).append(point)
    return {name: sorted(points) for name, points in series.items()}


def _point(row: dict[str, str]) -> tuple[int, float] | None:
    try:
        return int(row["step"]), float(row["map"])
    except (KeyError, ValueError):
        return None
