"""The numbers a run leaves: `metrics.csv` and TensorBoard events."""

import csv
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from ssdcore.run_folder import RunFolder
from ssdcore.training.step import METRICS

Row = dict[str, float | int | str]
COLUMNS = ("step", "epoch", "stage", "learning_rate", *METRICS, "images_per_second", "map")


class MetricsLog:
    """Writes rows to `metrics.csv` and the same numbers to TensorBoard.

    Rows after `step` are taken out first, so that a resumed run leaves no step twice.
    """

    def __init__(self, run: RunFolder, step: int) -> None:
        rows = [row for row in _read(run) if int(row["step"]) <= step]
        self._file = run.metrics.open("w", newline="", encoding="utf-8")
        self._csv = csv.DictWriter(self._file, COLUMNS)
        self._csv.writeheader()
        self._csv.writerows(rows)
        self._file.flush()
        self._events = tf.summary.create_file_writer(str(run.events))

    def write(self, row: Row) -> None:
        """Adds a row; columns that are not given stay empty."""
        self._csv.writerow(row)
        self._file.flush()
        with self._events.as_default(step=int(row["step"])):
            for name, value in row.items():
                if name != "step" and not isinstance(value, str):
                    tf.summary.scalar(name, value)
        self._events.flush()

    def close(self) -> None:
        self._file.close()
        self._events.close()


def _read(run: RunFolder) -> list[dict[str, str]]:
    if not run.metrics.is_file():
        return []
    with run.metrics.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Window:
    """Means of step metrics since the last row, summed without waiting for the device."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._sums: dict[str, Any] = {}
        self._steps = 0
        self._since = time.perf_counter()

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Adds one step's metrics, float32 scalars."""
        self._sums = {name: self._sums.get(name, 0.0) + value for name, value in metrics.items()}
        self._steps += 1

    def take(self, batch_size: int) -> Row:
        """The means and the images per second since the last call; starts a new window."""
        row: Row = {name: float(value) / self._steps for name, value in self._sums.items()}
        row["images_per_second"] = self._steps * batch_size / (time.perf_counter() - self._since)
        self._begin()
        return row
