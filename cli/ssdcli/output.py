"""Tables, progress bars and names of models."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from ssdcore.evaluation import Evaluation

PLAIN_LINES = 10
"""Lines that a progress bar prints where there is no terminal."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as its contents, not wrapped in a pipe."""
    table = Table(*columns, box=SIMPLE_HEAD, header_style="bold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(200, console.measure(table).maximum))
    console.print(table, markup=False)


def print_json(value: Any) -> None:
    """JSON for programs to read."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV; None is an empty field."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def print_evaluation(evaluation: "Evaluation") -> None:
    """Average precision of each class, the metric, and the speed."""
    rows = [(name, _number(value)) for name, value in evaluation.average_precisions.items()]
    rows.append(("mAP", _number(evaluation.mean_average_precision)))
    print_table(("class", _title(evaluation)), rows)
    if evaluation.coco:
        print_table(("COCO's twelve numbers", ""), [(name, _number(value)) for name, value in evaluation.coco.items()])
    click.echo(
        f"{evaluation.images} images, {evaluation.objects} objects, {evaluation.difficult} difficult ones "
        f"left out{_threshold(evaluation)}"
    )
    if evaluation.speed:
        speed = evaluation.speed.as_dict()
        click.echo(
            f"{speed['images_per_second']:.3g} images/s; ms for each: {speed['read_ms']:.3g} waiting for its data, "
            f"{speed['network_ms']:.3g} network, {speed['nms_ms']:.3g} NMS"
        )


def print_scores(scores: Sequence[tuple[int, "Evaluation"]]) -> None:
    """A line for each step, with the average precision of each class."""
    first = scores[0][1]
    rows = [
        (str(step), _number(result.mean_average_precision), *map(_number, result.average_precisions.values()))
        for step, result in scores
    ]
    print_table(("step", "mAP", *first.average_precisions), rows)
    click.echo(f"{_title(first)}, {first.images} images{_threshold(first)}")


def _title(evaluation: "Evaluation") -> str:
    iou = "0.50 to 0.95" if evaluation.match_iou is None else evaluation.match_iou
    return f"AP ({evaluation.metric}, IoU {iou})"


def _threshold(evaluation: "Evaluation") -> str:
    return "" if evaluation.score_threshold is None else f", scores above {evaluation.score_threshold}"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


class Bar:
    """Shows the progress of some work: on a terminal as a bar, else as a line at each tenth of the work."""

    def __init__(self, title: str, progress: Progress | None) -> None:
        self._title, self._progress, self._shown = title, progress, 0
        self._task = progress.add_task(title, total=None, note="") if progress else None

    def update(self, done: int, total: int, note: str = "") -> None:
        """Shows `done` of `total`, and a note."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, note=note)
            return
        tenth = PLAIN_LINES * done // max(total, 1)
        if tenth < self._shown:  # new work has begun
            self._shown = 0
        if tenth > self._shown:
            self._shown = tenth
            click.echo(f"{self._title}: {done}/{total} {note}".rstrip(), err=True)


@contextmanager
def progress_bar(title: str) -> Iterator[Bar]:
    """A progress bar on a terminal, else plain lines; both on stderr."""
    if not sys.stderr.isatty():
        yield Bar(title, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(title, progress)


def short_names(models: Sequence[Path]) -> list[str]:
    """A name for each of several models: the last part of its path, or all of it where the last parts are not unique.

    Raises:
        click.UsageError: a path is given twice.
    """
    if len({path.resolve() for path in models}) < len(models):
        raise click.UsageError("the same model is given twice.")
    short = [path.stem if path.suffix == ".npz" else path.absolute().name for path in models]
    return short if len(set(short)) == len(short) else [str(path) for path in models]
