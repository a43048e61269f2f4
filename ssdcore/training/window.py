"""What the steps since the last row of metrics.csv reported."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssdcore.training.step import METRICS, REPORTED

Row = dict[str, float | int | str]
FAULT = METRICS.index("fault")


class Window:
    """The metrics of some steps, left on the device until they are wanted, and the time they took.

    Time counts between the begin and the end of `timed`, so that evaluations and the compilation
    of a stage's first step are left out.
    """

    def __init__(self, earlier: NDArray[np.float32] | None = None) -> None:
        """An empty window, or one with the metrics (n, M) of earlier steps."""
        self._values: list[Any] = [] if earlier is None else list(earlier)
        self._images = 0
        self._seconds = self._waited = 0.0

    @contextmanager
    def timed(self, images: int) -> Iterator[None]:
        """Counts the time spent inside as that of a step over so many images."""
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

    def begin_timing(self) -> None:
        """Forgets the times counted so far."""
        self._images, self._seconds, self._waited = 0, 0.0, 0.0

    def add(self, metrics: Any) -> None:
        """Adds a step's metrics, (M,) float32."""
        self._values.append(metrics)

    def values(self) -> NDArray[np.float32]:
        """The metrics of all steps, (n, M) float32; waits for the device."""
        self._values = [np.asarray(value, np.float32) for value in self._values]
        return np.stack(self._values) if self._values else np.zeros((0, len(METRICS)), np.float32)

    def first_fault(self) -> int | None:
        """How many steps ago the first faulty one was, 1 for the last; None if all were good."""
        faulty = np.flatnonzero(self.values()[:, FAULT])
        return len(self._values) - int(faulty[0]) if len(faulty) else None

    def take(self) -> Row:
        """The means, images per second and share of time spent waiting; starts a new window."""
        means = self.values().mean(axis=0, dtype=np.float64)
        row: Row = {name: float(f"{means[METRICS.index(name)]:.7g}") for name in REPORTED}
        if self._images:
            row["images_per_second"] = round(self._images / self._seconds, 2)
            row["data_wait"] = round(self._waited / self._seconds, 4)
        self._values = []
        self.begin_timing()
        return row
