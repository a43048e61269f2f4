"""What a run reports: `metrics.csv`, TensorBoard events and profiler traces."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from ssdcore.data.records.index import one_line
from ssdcore.errors import TrainingError
from ssdcore.files import explain_writing
from ssdcore.runs.run_folder import RunFolder
from ssdcore.training.step import REPORTED

COLUMNS = ("step", "epoch", "stage", *REPORTED, "images_per_second", "data_wait", "map", "eval_loss")
SKIPPED_STEPS, TRACED_STEPS = 10, 10
"""Steps before a profiler trace, which compile and fill buffers, and steps traced."""

_writing = partial(explain_writing, error=TrainingError, reason="cannot_write_run")


class MetricsLog:
    """Writes rows to `metrics.csv` and the same numbers to TensorBoard."""

    def __init__(self, run: RunFolder, rows: int, step: int) -> None:
        """Appends after row `rows`; drops entries later than `step`.

        Raises:
            TrainingError: rows are missing, or the files cannot be written.
        """
        self._run = run
        with self._writing_events():
            self._events = tf.summary.create_file_writer(str(run.events))
        with _writing(run.metrics):
            self._file = run.metrics.open("a+", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        try:
            self.rewind(rows, step)
        except TrainingError:
            self.close()
            raise

    def rewind(self, rows: int, step: int) -> None:
        """Drops rows after row `rows` and events later than `step`, since training continues from there.

        Raises:
            TrainingError: rows are missing, or the files cannot be written.
        """
        with _writing(self._run.metrics):
            self._truncate(rows)
        self.rows, self._step = rows, step
        # TensorBoard discards what it read before of later steps; the files stay as they are.
        event = Event(step=step + 1, session_log=SessionLog(status=SessionLog.START))
        with self._writing_events():
            tf.raw_ops.ImportEvent(writer=self._events._resource, event=event.SerializeToString())
            self._events.flush()
            self._shown = _tags_at(self._run.events, step)

    def write(self, row: Mapping[str, float | int | str]) -> None:
        """Appends a row, on disk when this returns; absent columns stay empty.

        Raises:
            TrainingError: the disk is full.
        """
        with _writing(self._run.metrics):
            self._writer.writerow(row)
            self._flush()  # a checkpoint that survives a crash counts on its rows
        self.rows += 1
        numbers = {name: value for name, value in row.items() if name != "step" and not isinstance(value, str)}
        self._show(int(row["step"]), numbers, tf.summary.scalar)

    def show_images(self, step: int, titled: Mapping[str, Any]) -> None:
        """Shows images (N, h, w, 3) uint8 in TensorBoard."""
        self._show(step, titled, lambda title, images: tf.summary.image(title, images, max_outputs=len(images)))

    def show_histograms(self, step: int, named: Mapping[str, Any]) -> None:
        """Shows the distribution of variables in TensorBoard."""
        self._show(step, named, tf.summary.histogram)

    def close(self) -> None:
        with _writing(self._run.metrics):
            self._file.close()
        with self._writing_events():
            self._events.close()

    def _truncate(self, rows: int) -> None:
        """Leaves the header and `rows` rows; a killed run may have left half a line after them."""
        self._file.seek(0)
        lines = [line for line in iter(self._file.readline, "") if line.endswith("\n")]
        if len(lines) - 1 < rows and rows:
            raise TrainingError(
                f"{self._run.metrics.absolute()} has {max(len(lines) - 1, 0)} rows, the checkpoint was saved after "
                f"{rows}; restore the file, or start a new run from the checkpoint's weights (train.weights=FILE)"
            )
        self._file.truncate(len("".join(lines[: rows + 1]).encode()))
        self._file.seek(0, os.SEEK_END)
        if not lines:
            self._writer.writeheader()
        self._flush()

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _show(self, step: int, named: Mapping[str, Any], summarize: Callable[[str, Any], Any]) -> None:
        """Writes events, except those that the step already has: a resumed run repeats its last evaluation."""
        if step != self._step:
            self._step, self._shown = step, set()
        with self._writing_events(), self._events.as_default(step=step):
            for name, value in named.items():
                if name not in self._shown:
                    summarize(name, value)
            self._events.flush()
        self._shown |= named.keys()

    @contextmanager
    def _writing_events(self) -> Iterator[None]:
        """Reports that events cannot be written; TensorFlow raises the same error for a full disk and full memory.

        Raises:
            TrainingError: writing failed inside.
        """
        with _writing(self._run.events):
            try:
                yield
            except tf.errors.OpError as error:
                raise OSError(error.error_code, one_line(error)) from None


def _tags_at(folder: Path, step: int) -> set[str]:
    """The tags of the events of a step that TensorBoard would show."""
    tags: set[str] = set()
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in _events(path):
            if event.session_log.status == SessionLog.START and event.step <= step:
                tags.clear()
            elif event.step == step:
                tags |= {value.tag for value in event.summary.value}
    return tags


def _events(path: Path) -> Iterator[Event]:
    """The events of a file, up to the half-written one that a killed run may leave."""
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield Event.FromString(record)
    except tf.errors.DataLossError:
        return


class Profiler:
    """Traces steps 11 to 20 of a session for TensorBoard; does nothing without a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._steps = 0
        self._tracing = False

    def after_step(self) -> None:
        """Counts a step, and begins or ends the trace."""
        self._steps += 1
        if self._folder and self._steps == SKIPPED_STEPS:
            tf.profiler.experimental.start(str(self._folder))
            self._tracing = True
        elif self._steps == SKIPPED_STEPS + TRACED_STEPS:
            self.end()

    def end(self) -> None:
        """Writes the trace, if one has begun."""
        if self._tracing:
            tf.profiler.experimental.stop()
            self._tracing = False
