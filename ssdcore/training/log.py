"""The numbers a run leaves: `metrics.csv` and TensorBoard events."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event

from ssdcore.data.records.undecodable import one_line
from ssdcore.errors import TrainingError
from ssdcore.runs.run_folder import RunFolder, explain_writing
from ssdcore.training.lock import held
from ssdcore.training.metrics import cut_back, format_row


class MetricsLog:
    """Writes rows to `metrics.csv` and the same numbers to TensorBoard."""

    def __init__(self, run: RunFolder, rows: int, step: int) -> None:
        """Goes on behind the first `rows` rows; what a stopped run wrote after `step` is taken out.

        Rows of evaluations that watch the run stay where they are of steps up to that one.

        Raises:
            TrainingError: rows are missing, or the files cannot be written.
        """
        self._run = run
        self.rows = rows
        found = cut_back(run, rows, step)
        if found < rows:
            raise TrainingError(
                f"{run.metrics.absolute()} has {found} rows, the checkpoint was made behind {rows}; "
                "bring the file back, or start a new run from the checkpoint's weights (train.weights=FILE)"
            )
        with self._writing_events():
            self._step, self._shown = step, forget_after(run.events, step)
        with explain_writing(run.metrics):
            self._file = run.metrics.open("a", newline="", encoding="utf-8")
        with self._writing_events():
            self._events = tf.summary.create_file_writer(str(run.events))

    def write(self, row: Mapping[str, float | int | str]) -> None:
        """Adds a row, on the disk when this returns; columns that are not given stay empty.

        Raises:
            TrainingError: the disk is full.
        """
        with explain_writing(self._run.metrics):
            with held(self._run.metrics_lock):
                self._file.write(format_row(row))
                self._file.flush()
            os.fsync(self._file.fileno())  # a checkpoint that outlives a crash counts on its rows
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
        with explain_writing(self._run.metrics):
            self._file.close()
        with self._writing_events():
            self._events.close()

    def _show(self, step: int, named: Mapping[str, Any], summarize: Callable[[str, Any], Any]) -> None:
        """Writes events, but for those that a step has already: a run that goes on repeats its last evaluation."""
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
        """Says that events could not be written; TensorFlow calls a full disk what it calls a full memory.

        Raises:
            TrainingError: writing failed inside.
        """
        with explain_writing(self._run.events):
            try:
                yield
            except tf.errors.OpError as error:
                raise OSError(error.error_code, one_line(error)) from None


def forget_after(folder: Path, step: int) -> set[str]:
    """Takes the events of later steps out of TensorBoard's files; returns the names of what `step` itself has."""
    return {name for at, name in keep_events(folder, lambda at: at <= step) if at == step}


def keep_events(folder: Path, keeps: Callable[[int], bool]) -> set[tuple[int, str]]:
    """Takes events of other steps out of TensorBoard's files; returns the steps and names of those that remain."""
    found: set[tuple[int, str]] = set()
    for path in sorted(folder.glob("events.out.tfevents.*")):
        events = [(record, Event.FromString(record)) for record in _records(path)]
        kept = [record for record, event in events if keeps(event.step) or not event.summary.value]
        found |= {(event.step, value.tag) for _, event in events for value in event.summary.value if keeps(event.step)}
        if len(kept) < len(events):
            partial = path.with_name(f".{path.name}.partial")
            with tf.io.TFRecordWriter(str(partial)) as writer:
                for record in kept:
                    writer.write(record)
            partial.replace(path)
    return found


def _records(path: Path) -> Iterator[bytes]:
    """The records of a file, up to the half-written one that a killed run may leave."""
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except tf.errors.DataLossError:
        return
