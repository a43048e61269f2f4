"""SIGINT and SIGTERM as requests that are granted between two steps, never in the middle of one."""

import os
import signal
import sys
import threading
from typing import NoReturn, Self

from ssdcore.system.signals import SIGNALS, DeferredSignals

_BYTES = tuple(bytes([number]) for number in SIGNALS)
PATIENCE = 8.0
"""Seconds that a step may take after a signal; then the program ends without saving."""


class Interrupt(DeferredSignals):
    """Holds a signal back until the end of a step, but not for ever.

    A single step can take longer than whoever sent the signal will wait. A step cannot be left in
    the middle, so after `PATIENCE` seconds the process ends with what its last checkpoint holds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._watch: threading.Thread | None = None
        self._pipe: tuple[int, int] | None = None
        self._previous_wakeup = -1
        self._granted = threading.Event()

    def __enter__(self) -> Self:
        super().__enter__()
        if threading.current_thread() is threading.main_thread():
            self._start_watch()
        return self

    def __exit__(self, *exception: object) -> None:
        self._granted.set()
        super().__exit__(*exception)
        self._end_watch()

    def stop(self) -> NoReturn:
        """Raises as `check` does, signal or not: another worker of the run may have been told to stop."""
        self._granted.set()
        super().stop()

    def _start_watch(self) -> None:
        """A thread that hears of signals even while the main thread is inside a step."""
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._previous_wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._watch = threading.Thread(target=self._wait, args=(self._pipe[0],), daemon=True)
        self._watch.start()

    def _wait(self, signals: int) -> None:
        received = b""
        while received not in (b"\0", *_BYTES):
            received = os.read(signals, 1)
        if received in _BYTES and not self._granted.wait(PATIENCE):
            sys.stderr.write(f"\nstopped in a step of over {PATIENCE:g} s; go on from the last checkpoint\n")
            sys.stderr.flush()
            os._exit(128 + received[0])

    def _end_watch(self) -> None:
        if self._watch is None or self._pipe is None:
            return
        signal.set_wakeup_fd(self._previous_wakeup)
        os.write(self._pipe[1], b"\0")  # ends the thread, should it still wait for a signal
        self._watch.join()
        for end in self._pipe:
            os.close(end)
        self._watch = self._pipe = None
