"""The numbers a run leaves: `metrics.csv` and TensorBoard events."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event

from ssdcore.errors import TrainingError
from ssdcore.run_folder import RunFolder
from ssdcore.training.step import REPORTED

COLUMNS = ("step", "epoch", "stage", *REPORTED, "images_per_second", "data_wait", "map", "eval_loss")


class MetricsLog:
    """Writes rows to `metrics.csv` and the same numbers to TensorBoard."""

    def __init__(self, run: RunFolder, rows: int, step: int) -> None:
        """Goes on behind the first `rows` rows; what a stopped run wrote after `step` is taken out.

        Raises:
            TrainingError: rows are missing, or the files cannot be written.
        """
        self._run = run
        self.rows = rows
        lines = [",".join(COLUMNS) + "\n", *_rows_of(run.metrics)[:rows]]
        if len(lines) <= rows:
            raise TrainingError(
                f"{run.metrics.absolute()} has {len(lines) - 1} rows, the checkpoint was made behind {rows}; "
                "bring the file back, or start a new run from the checkpoint's weights (train.weights=FILE)"
            )
        _replace(run.metrics, "".join(lines).encode())
        forget_after(run.events, step)
        self._file = run.metrics.open("a", newline="", encoding="utf-8")
        self._csv = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        self._events = tf.summary.create_file_writer(str(run.events))

    def write(self, row: Mapping[str, float | int | str]) -> None:
        """Adds a row; columns that are not given stay empty."""
        self._csv.writerow(row)
        self._file.flush()
        self.rows += 1
        with self._events.as_default(step=int(row["step"])):
            for name, value in row.items():
                if name != "step" and not isinstance(value, str):
                    tf.summary.scalar(name, value)
        self._events.flush()

    def show_pictures(self, step: int, titled: Mapping[str, Any]) -> None:
        """Shows pictures (N, h, w, 3) uint8 in TensorBoard."""
        with self._events.as_default(step=step):
            for title, pictures in titled.items():
                tf.summary.image(title, pictures, max_outputs=len(pictures))
        self._events.flush()

    def show_histograms(self, step: int, named: Mapping[str, Any]) -> None:
        """Shows the distribution of variables in TensorBoard."""
        with self._events.as_default(step=step):
            for name, variable in named.items():
                tf.summary.histogram(name, variable)
        self._events.flush()

    def close(self) -> None:
        self._file.close()
        self._events.close()


def _rows_of(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [line for line in list(file)[1:] if line.endswith("\n")]  # a killed run may leave half a line


def forget_after(folder: Path, step: int) -> None:
    """Takes the events of later steps out of TensorBoard's files, and half-written ones."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        kept = list(_events_until(path, step))
        if kept != list(_events_until(path, None)):
            partial = path.with_name(f".{path.name}.partial")
            with tf.io.TFRecordWriter(str(partial)) as writer:
                for event in kept:
                    writer.write(event)
            partial.replace(path)


def _events_until(path: Path, step: int | None) -> Iterable[bytes]:
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    try:
        for record in records:
            if step is None or Event.FromString(record).step <= step:
                yield record
    except tf.errors.DataLossError:  # the end of a killed run
        return


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
