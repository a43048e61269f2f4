"""Scores files of detections, of whatever detector; TensorFlow is not needed."""

from pathlib import Path

from ssdcore.data.records.manifest import Manifest
from ssdcore.evaluation.ground_truth import read_truths
from ssdcore.evaluation.read_results import read_results
from ssdcore.evaluation.scores import Evaluation, Tally
from ssdcore.params import EvalParams


def evaluate_files(
    source: Path,
    folder: Path,
    split: str,
    params: EvalParams,
    max_images: int | None = None,
    annotations: Path | None = None,
) -> Evaluation:
    """Scores detections on a split of converted data.

    Args:
        source: files as `read_results` takes them.
        folder: of records, with a manifest.
        split: name of the split.
        params: the metric and its parameters; nothing is left out by score or number.
        max_images: only so many, from the first on.
        annotations: see `read_results`.

    Raises:
        DataError: the data or the files cannot be read, or do not belong together.
    """
    classes, truths = Manifest.load(folder).classes, read_truths(folder, split)
    results = read_results(source, truths, classes, annotations)
    chosen = truths[:max_images]
    tally = Tally(classes, [truth.name for truth in chosen], params)
    for truth, found in zip(chosen, results.by_image(), strict=False):
        tally.add(truth, found)
    return tally.evaluation(None)
