"""The metrics of the steps since the last row of metrics.csv."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssdcore.training.step import METRICS, REPORTED

Row = dict[str, float | int | str]
NON_FINITE = METRICS.index("non_finite")


@dataclass(eq=False)
class NonFiniteError(Exception):
    """Loss or gradient was NaN or infinite `steps_ago` steps back, 1 for the last step."""

    steps_ago: int


class StepMetrics:
    """The metrics of some steps, left on the device until they are read, and the time the steps took.

    Time counts inside `timed` only, which leaves out evaluations; `restart_timing` leaves out the compilation
    of a stage's first step.
    """

    def __init__(self, earlier: NDArray[np.float32] | None = None) -> None:
        """Empty, or with the metrics (n, M) of earlier steps."""
        self._values: list[Any] = [] if earlier is None else list(earlier)
        self.restart_timing()

    def restart_timing(self) -> None:
        """Sets the measured times to zero."""
        self._images, self._seconds, self._waited = 0, 0.0, 0.0

    @contextmanager
    def timed(self, images: int) -> Iterator[None]:
        """Counts the time spent inside as that of a step over `images` images."""
        begin = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - begin
        self._images += images

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time spent inside as waiting for data."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    def add(self, metrics: Any) -> None:
        """Adds a step's metrics, (M,) float32."""
        self._values.append(metrics)

    def values(self) -> NDArray[np.float32]:
        """The metrics of all steps, (n, M) float32; waits for the device."""
        self._values = [np.asarray(value, np.float32) for value in self._values]
        return np.stack(self._values) if self._values else np.zeros((0, len(METRICS)), np.float32)

    def check_finite(self) -> None:
        """Waits for the device.

        Raises:
            NonFiniteError: loss or gradient of a step was NaN or infinite; names the first one.
        """
        steps = np.flatnonzero(self.values()[:, NON_FINITE])
        if len(steps):
            raise NonFiniteError(len(self._values) - int(steps[0]))

    def take(self) -> Row:
        """The means, images per second and fraction of time spent waiting; then starts anew."""
        means = self.values().mean(axis=0, dtype=np.float64)
        row: Row = {name: float(f"{means[METRICS.index(name)]:.7g}") for name in REPORTED}
        if self._images:
            row["images_per_second"] = round(self._images / self._seconds, 2)
            row["data_wait"] = round(self._waited / self._seconds, 4)
        self._values = []
        self.restart_timing()
        return row
