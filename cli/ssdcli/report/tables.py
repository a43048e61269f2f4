"""The numbers of a report as JSON and as CSV tables."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ssdcli.options import Images
from ssdcli.output import csv_text
from ssdcli.report.scored import ScoredModel
from ssdcore.errors import DataError
from ssdcore.evaluation.analysis.sizes import BANDS
from ssdcore.files import explain_writing, write_atomic

PAGE, NUMBERS = "index.html", "report.json"

Rows = Iterable[Sequence[Any]]


def require_free(out: Path) -> None:
    """Refuses a folder that holds anything but an older report, which is replaced.

    Raises:
        DataError: it does, or it is a file.
    """
    if out.exists() and not (out.is_dir() and ((out / NUMBERS).is_file() or not any(out.iterdir()))):
        raise DataError(f"{out.absolute()} exists already and holds no report; choose another --out")


def numbers(models: Sequence[ScoredModel], images: Images) -> dict[str, Any]:
    """The contents of `report.json`."""
    shared = {"data": str(images.data), "split": images.split}
    one, *more = (model.as_dict() for model in models)
    return {**shared, "models": [one, *more]} if more else {**shared, **one}


def write_report(out: Path, page: str, models: Sequence[ScoredModel], images: Images) -> None:
    """Writes the page and its numbers: the file that identifies a report first, the page last.

    Raises:
        DataError: a file cannot be written.
    """
    whole = json.dumps(numbers(models, images), indent=2, ensure_ascii=False) + "\n"
    tables = {
        name: csv_text([("model", *columns), *((model.label, *row) for model in models for row in rows(model))])
        for name, (columns, rows) in TABLES.items()
    }
    with explain_writing(out, DataError):
        out.mkdir(parents=True, exist_ok=True)
    for name, text in {NUMBERS: whole, **tables, PAGE: page}.items():
        write_atomic(out / name, text.encode(), DataError)


def _classes(model: ScoredModel) -> Rows:
    for one in model.analysis.classes:
        best = (one.best.score, one.best.precision, one.best.recall, one.best.f1) if one.best else (None,) * 4
        yield one.name, one.objects, one.detections, one.voc07, one.voc12, one.over_ious, *best


def _sizes(model: ScoredModel) -> Rows:
    analysis = model.analysis
    for by, table in (("area", analysis.by_area), ("share", analysis.by_share)):
        for one, row in zip(analysis.classes, table, strict=True):
            yield from ((by, one.name, band, *scores) for band, scores in zip(BANDS, row, strict=True))


def _confusion(model: ScoredModel) -> Rows:
    names = ["", *model.checkpoint.classes]
    for true, row in zip(names, model.analysis.confusion.tolist(), strict=True):
        yield from ((true, predicted, count) for predicted, count in zip(names, row, strict=True))


def _binned(*columns: Iterable[Any]) -> Rows:
    """Rows of bins of equal width from 0 to 1: from, to, and the values of each bin."""
    rows = list(zip(*columns, strict=True))
    for index, row in enumerate(rows):
        yield index / len(rows), (index + 1) / len(rows), *row


def _scores(model: ScoredModel) -> Rows:
    false, true = model.analysis.histogram.tolist()
    return _binned(true, false)


def _calibration(model: ScoredModel) -> Rows:
    bins = model.analysis.calibration
    return _binned(bins.counts.tolist(), bins.true.tolist(), bins.mean_scores.tolist())


def _errors(model: ScoredModel) -> Rows:
    for case in model.errors():
        image = model.image_names[case.image]
        if case.kind == "missed" and case.truth:
            yield "missed", image, case.truth.name, None, *case.truth.box, None, ""
        elif case.detection:
            about = case.truth.name if case.truth else ""
            yield case.kind, image, case.detection.name, case.score, *case.detection.box, case.iou, about


_BOX = ("xmin", "ymin", "xmax", "ymax")

TABLES: dict[str, tuple[Sequence[str], Callable[[ScoredModel], Rows]]] = {
    "classes.csv": (
        ("class", "objects", "detections", "voc07", "voc12", "over_ious", "best_score", "precision", "recall", "f1"),
        _classes,
    ),
    "curves.csv": (
        ("class", "score", "precision", "recall"),
        lambda model: (
            (one.name, *point)
            for one in model.analysis.classes
            for point in zip(*(part.tolist() for part in one.curve), strict=True)
        ),
    ),
    "sizes.csv": (("by", "class", "size", "objects", "average_precision"), _sizes),
    "confusion.csv": (("true_class", "predicted_class", "count"), _confusion),
    "scores.csv": (("from", "to", "true", "false"), _scores),
    "calibration.csv": (("from", "to", "detections", "true", "mean_score"), _calibration),
    "errors.csv": (("kind", "image", "class", "score", *_BOX, "iou", "object_class"), _errors),
    "steps.csv": (
        ("series", "step", "map"),
        lambda model: ((name, *point) for name, points in model.steps.items() for point in points),
    ),
}
"""File -> its columns after `model`, and its rows for a model; an empty class is background."""
