"""SIGINT and SIGTERM as wishes that are granted where nothing is half done."""

import signal
import threading
from types import FrameType
from typing import Any, NoReturn, Self

from ssdcore.errors import Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DeferredSignals:
    """While entered, the first SIGINT or SIGTERM waits for `check`; a second one is not held back.

    In other threads than the main one, which receives the signals, it does nothing.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    @property
    def noted(self) -> bool:
        """Whether a signal has come."""
        return self._noted is not None

    def check(self) -> None:
        """Raises if a signal has come; call it where stopping leaves nothing half done.

        Raises:
            KeyboardInterrupt: SIGINT came.
            Terminated: SIGTERM came.
        """
        if self.noted:
            self.stop()

    def stop(self) -> NoReturn:
        """Raises as `check` does, signal or not."""
        raise Terminated if self._noted == signal.SIGTERM else KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
