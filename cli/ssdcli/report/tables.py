"""The numbers of a report as JSON and as CSV tables."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssdcli.report.scored import Scored, Where
from ssdcore.data.output import write_whole, writing_into
from ssdcore.errors import DataError
from ssdcore.evaluation.analysis.errors import KINDS
from ssdcore.evaluation.analysis.sizes import BANDS

PAGE, NUMBERS = "index.html", "report.json"

Rows = Iterable[Sequence[Any]]


def require_free(out: Path) -> None:
    """Makes sure that a folder is missing, empty, or holds an older report, which is replaced.

    Raises:
        DataError: it holds something else, or is a file.
    """
    if out.exists() and not (out.is_dir() and ((out / NUMBERS).is_file() or not any(out.iterdir()))):
        raise DataError(f"{out.absolute()} exists already and holds no report; choose another --out")


def numbers(models: Sequence[Scored], where: Where) -> dict[str, Any]:
    """What `report.json` holds."""
    shared = {"data": str(where.data), "split": where.split}
    one, *more = (model.as_dict() for model in models)
    return {**shared, "models": [one, *more]} if more else {**shared, **one}


def write_report(out: Path, page: str, models: Sequence[Scored], where: Where) -> None:
    """Writes the page and its numbers: those first by which a report is known, and the page last.

    Raises:
        DataError: that is not possible.
    """
    whole = json.dumps(numbers(models, where), indent=2, ensure_ascii=False) + "\n"
    tables = {name: _table(models, columns, rows) for name, (columns, rows) in TABLES.items()}
    with writing_into(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, text in {NUMBERS: whole, **tables, PAGE: page}.items():
            write_whole(out / name, text.encode())


def _table(models: Sequence[Scored], columns: Sequence[str], rows: Callable[[Scored], Rows]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", *columns))
    writer.writerows((model.label, *row) for model in models for row in rows(model))
    return text.getvalue()


def _classes(model: Scored) -> Rows:
    for one in model.analysis.classes:
        best = (one.best.score, one.best.precision, one.best.recall, one.best.f1) if one.best else (None,) * 4
        yield one.name, one.objects, one.detections, one.voc07, one.voc12, one.over_ious, *best


def _curves(model: Scored) -> Rows:
    for one in model.analysis.classes:
        yield from ((one.name, *point) for point in zip(*(part.tolist() for part in one.curve), strict=True))


def _sizes(model: Scored) -> Rows:
    analysis = model.analysis
    for by, table in (("area", analysis.by_area), ("share", analysis.by_share)):
        for one, row in zip(analysis.classes, table, strict=True):
            yield from ((by, one.name, band, *scores) for band, scores in zip(BANDS, row, strict=True))


def _confusion(model: Scored) -> Rows:
    names = ["", *model.checkpoint.classes]
    for true, row in zip(names, model.analysis.confusion.tolist(), strict=True):
        yield from ((true, found, count) for found, count in zip(names, row, strict=True))


def _scores(model: Scored) -> Rows:
    false, true = model.analysis.histogram.tolist()
    for place in range(len(true)):
        yield place / len(true), (place + 1) / len(true), true[place], false[place]


def _calibration(model: Scored) -> Rows:
    found = model.analysis.calibration
    for place, (count, true, mean) in enumerate(zip(found.counts, found.true, found.mean_scores, strict=True)):
        yield place / len(found.counts), (place + 1) / len(found.counts), int(count), int(true), float(mean)


def _steps(model: Scored) -> Rows:
    for name, points in model.steps.items():
        yield from ((name, *point) for point in points)


def _errors(model: Scored) -> Rows:
    """False detections from the score on, best first, then missed objects."""
    errors, (objects, found, *_) = model.analysis.errors, model.analysis.matched
    names, images = ["", *model.checkpoint.classes], [truth.name for truth in model.truths]
    for row in np.flatnonzero(errors.kinds >= 0).tolist():
        blamed = int(errors.objects[row])
        overlap = max(found.own_iou[row], found.other_iou[row])
        if blamed >= 0:
            overlap = found.own_iou[row] if blamed == found.own[row] else found.other_iou[row]
        about = names[objects.labels[blamed]] if blamed >= 0 else ""
        yield (
            KINDS[errors.kinds[row]],
            images[found.images[row]],
            names[found.labels[row]],
            float(found.scores[row]),
            *found.boxes[row].tolist(),
            float(overlap),
            about,
        )
    for place in np.flatnonzero(errors.missed).tolist():
        yield (
            "missed",
            images[objects.images[place]],
            names[objects.labels[place]],
            None,
            *objects.boxes[place].tolist(),
            None,
            "",
        )


_BOX = ("xmin", "ymin", "xmax", "ymax")

TABLES: dict[str, tuple[Sequence[str], Callable[[Scored], Rows]]] = {
    "classes.csv": (
        ("class", "objects", "detections", "voc07", "voc12", "over_ious", "best_score", "precision", "recall", "f1"),
        _classes,
    ),
    "curves.csv": (("class", "score", "precision", "recall"), _curves),
    "sizes.csv": (("by", "class", "size", "objects", "average_precision"), _sizes),
    "confusion.csv": (("true_class", "found_class", "count"), _confusion),
    "scores.csv": (("from", "to", "true", "false"), _scores),
    "calibration.csv": (("from", "to", "detections", "true", "mean_score"), _calibration),
    "errors.csv": (("kind", "image", "class", "score", *_BOX, "iou", "object_class"), _errors),
    "steps.csv": (("series", "step", "map"), _steps),
}
"""File -> its columns behind `model`, and its rows of a model; an empty class is background."""
