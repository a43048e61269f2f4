"""A window that shows what is found as it is found."""

import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import cv2

from ssdcore.errors import DataError

if TYPE_CHECKING:
    from ssdcli.detect.outputs import Result

TITLE = "ssd detect"
ENDING_KEYS = (ord("q"), 27)
WAIT = 50
"""Milliseconds between two looks at the keys."""


class WindowClosedError(Exception):
    """Whoever looks at the window has seen enough."""


class Window:
    """Shows each frame; an image stays until a key is pressed. `q`, Escape or closing the window ends the work."""

    def __init__(self, check: Callable[[], None]) -> None:
        """Opens no window yet; `check` is called while it waits for a key, and may end the work.

        Raises:
            DataError: no window can be opened here.
        """
        if not _has_display():
            raise DataError("--show: there is no display to open a window on; leave --show out and look at --out")
        self._check = check

    def __enter__(self) -> Self:
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
        return self

    def add(self, result: "Result") -> None:
        """Shows a frame.

        Raises:
            WindowClosedError: the window was closed, or `q` or Escape pressed.
        """
        cv2.imshow(TITLE, result.drawn)
        key = cv2.waitKey(1)
        while result.frame.number is None and key < 0 and self._is_open():
            self._check()
            key = cv2.waitKey(WAIT)
        if key in ENDING_KEYS or not self._is_open():
            raise WindowClosedError

    def _is_open(self) -> bool:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cv2.destroyAllWindows()


def _has_display() -> bool:
    """Whether a window can be opened: where there is no display OpenCV ends the whole process, so another one tries."""
    trial = f"import cv2; cv2.namedWindow({TITLE!r}, cv2.WINDOW_NORMAL); cv2.destroyAllWindows()"
    return subprocess.run([sys.executable, "-c", trial], capture_output=True, check=False).returncode == 0
