"""Memory of this process."""

import threading
from types import TracebackType

import psutil

SAMPLING_SECONDS = 0.01


class PeakMemory:
    """While entered, samples the resident memory of this process in a thread of its own.

    Attributes:
        start: bytes when it was entered.
        peak: the most bytes seen since then.
    """

    def __init__(self) -> None:
        self._process, self._done = psutil.Process(), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self.start = self.peak = self._resident()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self.peak = max(self.peak, self._resident())

    def _sample(self) -> None:
        while not self._done.wait(SAMPLING_SECONDS):
            self.peak = max(self.peak, self._resident())

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)
