"""SIGINT and SIGTERM as requests to stop, handled where nothing is half done."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn, Self

from ssdcore.errors import Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BYTES = tuple(bytes([number]) for number in SIGNALS)

STEP_TIMEOUT = 8.0
"""Seconds that a training step may take after a signal; then the process exits without saving."""


class DeferredSignals:
    """While entered, the first SIGINT or SIGTERM waits for `check`; a second one acts at once.

    It does nothing outside of the main thread, which is the one that receives signals.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    @property
    def received(self) -> bool:
        """Whether a signal has come."""
        return self._received is not None

    def check(self) -> None:
        """Raises if a signal has come; call it where stopping leaves nothing half done.

        Raises:
            KeyboardInterrupt: SIGINT came.
            Terminated: SIGTERM came.
        """
        if self.received:
            self.stop()

    def stop(self) -> NoReturn:
        """Raises as `check` does, signal or not: another worker may have received one."""
        raise Terminated if self._received == signal.SIGTERM else KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


class StepSignals(DeferredSignals):
    """Defers signals to the end of a training step, but not indefinitely.

    A step cannot be left in the middle, and a single one can take longer than the sender of the signal will
    wait. So the process exits after `STEP_TIMEOUT` seconds, with what its last checkpoint holds. A thread
    watches for signals, since Python runs handlers in the main thread only, which may be inside native code.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread: threading.Thread | None = None
        self._pipe = (-1, -1)
        self._previous_wakeup = -1
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        super().__enter__()
        if threading.current_thread() is threading.main_thread():
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._previous_wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        super().__exit__(*exception)
        if self._thread is None:
            return
        signal.set_wakeup_fd(self._previous_wakeup)
        os.write(self._pipe[1], b"\0")  # ends the thread if no signal came
        self._thread.join()
        for end in self._pipe:
            os.close(end)
        self._thread = None

    def stop(self) -> NoReturn:
        self._stopping.set()
        super().stop()

    def _watch(self) -> None:
        received = b""
        while received not in (b"\0", *_BYTES):
            received = os.read(self._pipe[0], 1)
        if received in _BYTES and not self._stopping.wait(STEP_TIMEOUT):
            sys.stderr.write(f"\na step took over {STEP_TIMEOUT:g} s: exiting without saving\n")
            sys.stderr.flush()
            os._exit(128 + received[0])
