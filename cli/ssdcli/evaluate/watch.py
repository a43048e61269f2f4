"""`ssd eval --watch`: scores the checkpoints of a run while it is being trained, in a process of its own.

Training knows nothing of it: the watcher looks for new files `step-*.npz`, and writes `watch/<split>.csv` and events
for TensorBoard.
"""

import csv
import json
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssdcli.evaluate.scoring import EvalRequest, load, make_evaluator, within_memory
from ssdcli.options import Program
from ssdcli.output import progress_bar
from ssdcore.data.records.manifest import Manifest
from ssdcore.errors import CheckpointError, SsdError
from ssdcore.files import exclusive, explain_writing, write_atomic
from ssdcore.runs.run_folder import RunFolder, spaced, step_of

if TYPE_CHECKING:
    from ssdcore.runs.checkpoint import Checkpoint

POLL = 0.5
"""Seconds between two looks at the run folder."""

GRACE = 20.0
"""Seconds after the end of a training in which it may be resumed."""

COLUMNS = ("step", "metric", "map")


class ScoreTable:
    """The scores of a run's checkpoints by one metric, in a CSV file of step, metric and mAP."""

    def __init__(self, path: Path, metric: str) -> None:
        """Reads what earlier watchers have written to `path`."""
        self._path, self._metric = path, metric
        text = path.read_text("utf-8") if path.is_file() else ""
        self._rows = [(int(step), name, value) for step, name, value in list(csv.reader(text.splitlines()))[1:]]

    def scores(self) -> dict[int, float | None]:
        """Step -> mAP; None where nothing could be scored."""
        return {step: float(value) if value else None for step, name, value in self._rows if name == self._metric}

    def best(self) -> tuple[float, int] | None:
        """The best mAP and its first step."""
        known = [(value, step) for step, value in self.scores().items() if value is not None]
        return max(known, key=lambda one: (one[0], -one[1]), default=None)

    def add(self, step: int, value: float | None) -> None:
        """Appends a row."""
        self._write([*self._rows, (step, self._metric, "" if value is None else str(value))])

    def remove_later(self, step: int) -> None:
        """Removes the rows after a step that the run has gone back to."""
        kept = [row for row in self._rows if row[0] <= step]
        if len(kept) < len(self._rows):
            self._write(kept)

    def _write(self, rows: list[tuple[int, str, str]]) -> None:
        text = "".join(f"{','.join(map(str, row))}\n" for row in (COLUMNS, *rows))
        write_atomic(self._path, text.encode())
        self._rows = rows


def watch_run(program: Program, request: EvalRequest) -> None:
    """Scores each checkpoint of a run as it appears, until training has ended."""
    from ssdcore.evaluation.evaluate import eval_split

    run = RunFolder(request.source)
    if run.root.is_file() or (run.root.suffix == ".npz" and not run.root.exists()):
        what = "is a file" if run.root.is_file() else "is named like a checkpoint"
        raise CheckpointError(f"{run.root.absolute()} {what}; --watch wants the run folder of a training")
    Manifest.load(request.data)
    if not run.last.is_file():
        click.echo(f"waiting for a training to begin in {run.root.absolute()}", err=True)
    while not run.last.is_file():
        time.sleep(POLL)
    first = load(run.last, request.assignments)
    split, metric = request.split or eval_split(first, request.data), first.params.eval.metric
    path = run.watches / f"{split}.csv"
    busy = SsdError(f"another process watches {run.root.absolute()} on {split!r}; wait for its rows in {path}")
    with explain_writing(path):
        path.parent.mkdir(exist_ok=True)
    with exclusive(path.with_name(f".{split}.lock"), busy):
        table = ScoreTable(path, metric)
        count = _score_all(program, request, first, table)
    best = table.best()
    said = f", the best at step {best[1]}: {metric} mAP {best[0]:.4f}" if best else ""
    click.echo(f"training has ended; {count} checkpoints scored on {split!r}{said}", err=True)


def _score_all(program: Program, request: EvalRequest, first: "Checkpoint", table: ScoreTable) -> int:
    """Scores the checkpoints that have no row yet; gives their number."""
    import tensorflow as tf

    run, count = RunFolder(request.source), 0
    evaluator, assign = make_evaluator(program, first, request)
    events = tf.summary.create_file_writer(str(run.events / f"watch-{evaluator.split}"))
    for step, checkpoint in _new_checkpoints(run, table, request.every or 1):
        assign(checkpoint)
        with progress_bar("evaluating") if sys.stderr.isatty() else nullcontext() as bar:
            on_batch = partial(bar.update, note=f"step {step}") if bar else lambda done, total: None
            result = evaluator.run(within_memory(on_batch, request))
        value = result.mean_average_precision
        if value is not None:
            with events.as_default():
                tf.summary.scalar("map", value, step=step)
            events.flush()
        table.add(step, value)
        count += 1
        best = table.best()
        is_best = best is not None and best[1] == step
        if request.as_json:
            values = {"step": step, "split": evaluator.split, "best": is_best, **result.as_dict()}
            line = json.dumps(values, ensure_ascii=False)
        else:
            score = "n/a" if value is None else f"{value:.4f}"
            line = f"step {step}  {result.metric} mAP {score}{', the best so far' if is_best else ''}"
        click.echo(line)
    return count


def _new_checkpoints(run: RunFolder, table: ScoreTable, every: int) -> Iterator[tuple[int, "Checkpoint"]]:
    """Checkpoints without a row, `every` steps or more apart, as they appear, until training has ended.

    One that is removed before it is read is skipped; so is one that cannot be read, with a message.
    """
    from ssdcore.runs.checkpoint import load_checkpoint

    skipped: set[int] = set()
    ended: float | None = None
    while ended is None or time.monotonic() - ended < GRACE:
        is_training = _is_training(run)  # asked first: a run that ends after this leaves its checkpoints
        steps = {step_of(path) for path in run.numbered()}
        table.remove_later(max(steps, default=sys.maxsize))
        for step in spaced(steps - skipped, every, table.scores())[:1]:
            try:
                checkpoint = load_checkpoint(run.at_step(step))
            except CheckpointError as error:
                skipped.add(step)
                if run.at_step(step).exists():
                    click.echo(f"skipped: {error}", err=True)
            else:
                yield step, checkpoint
            break
        else:
            if is_training:
                ended = None
            elif ended is None:
                ended = time.monotonic()
                click.echo(f"no training is running; waiting {GRACE:g} s in case it is resumed", err=True)
            time.sleep(POLL)


def _is_training(run: RunFolder) -> bool:
    """Whether a process trains in the run folder."""
    if not run.lock.exists():
        return False
    try:
        with exclusive(run.lock, SsdError("another process trains here"), timeout=0):
            return False
    except SsdError:
        return True
