"""Ctrl-C as a request that is granted between two steps, never in the middle of one."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupt:
    """While entered, notes SIGINT instead of raising; a second one raises at once.

    In other threads than the main one, which receives the signals, it does nothing.
    """

    def __init__(self) -> None:
        self.noted = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def check(self) -> None:
        """Raises KeyboardInterrupt if SIGINT has come; call it where stopping leaves nothing half done."""
        if self.noted:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.noted = True
        self._restore()

    def _restore(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None
