"""Memory of this process."""

import threading
from typing import Self

import psutil

SAMPLING_SECONDS = 0.002


class PeakMemory:
    """While entered, samples the resident memory of this process in a thread of its own.

    Attributes:
        start: bytes when it was entered.
        peak: the most bytes seen since then.
    """

    def __init__(self) -> None:
        self._process, self._done = psutil.Process(), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.start = self.peak = 0

    def __enter__(self) -> Self:
        self.start = self.peak = self._resident()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        done = False
        while not done:
            done = self._done.wait(SAMPLING_SECONDS)
            self.peak = max(self.peak, self._resident())

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)
