"""SIGINT and SIGTERM as requests that are granted between two steps, never in the middle of one."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Self

from ssdcore.errors import Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BYTES = tuple(bytes([number]) for number in SIGNALS)
PATIENCE = 8.0
"""Seconds that a step may take after a signal; then the program ends without saving."""


class Interrupt:
    """While entered, notes the first signal instead of dying of it; a second one is not held back.

    A single step can take longer than whoever sent the signal will wait. A step cannot be left in
    the middle, so after `PATIENCE` seconds the process ends with what its last checkpoint holds.
    In other threads than the main one, which receives the signals, it does nothing.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._previous: dict[int, Any] = {}
        self._watch: threading.Thread | None = None
        self._pipe: tuple[int, int] | None = None
        self._previous_wakeup = -1
        self._granted = threading.Event()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
            self._start_watch()
        return self

    def __exit__(self, *exception: object) -> None:
        self._granted.set()
        self._restore()
        self._end_watch()

    @property
    def noted(self) -> bool:
        """Whether a signal has come."""
        return self._noted is not None

    def check(self) -> None:
        """Raises if a signal has come; call it where stopping leaves nothing half done.

        Raises:
            KeyboardInterrupt: SIGINT came, or another worker of the run was told to stop.
            Terminated: SIGTERM came.
        """
        if self.noted:
            self.stop()

    def stop(self) -> None:
        """Raises as `check` does, signal or not."""
        self._granted.set()
        raise Terminated if self._noted == signal.SIGTERM else KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

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
