"""Detections as images: drawn images and videos, crops, and the screen."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import supervision as sv

from ssdcli.detect.request import FORMATS
from ssdcli.detect.sources import MediaSource
from ssdcli.detect.text_outputs import (
    CocoResults,
    Csv,
    DetectedFrame,
    Json,
    JsonLines,
    OutFolder,
    Output,
    VocResults,
)
from ssdcore.errors import DataError
from ssdcore.files import explain_writing
from ssdcore.types import Image

TITLE = "ssd detect"
ENDING_KEYS = (ord("q"), 27)
WAIT = 50
"""Milliseconds between two looks at the keys."""


def make_outputs(
    formats: Sequence[str], folder: OutFolder, sources: Sequence[MediaSource], classes: Sequence[str]
) -> list[Output]:
    """An output for each of the formats, once, for the classes 1..C.

    Raises:
        DataError: a file to write is one of the sources.
    """
    makers: list[Callable[[OutFolder, Sequence[MediaSource], Sequence[str]], Output]]
    makers = [Drawn, Json, JsonLines, Csv, CocoResults, VocResults, Crops]
    by_name = dict(zip(FORMATS, makers, strict=True))
    return [by_name[name](folder, sources, classes) for name in dict.fromkeys(formats)]


class ImageOutput:
    """Base of outputs that have nothing to open or complete."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


class Crops(ImageOutput):
    """`crops/<class>/<name>-<number>.png`: the pixels that a box touches, numbered best first."""

    def __init__(self, folder: OutFolder, sources: Sequence[MediaSource], classes: Sequence[str]) -> None:
        self._folder = folder

    def add(self, detected: DetectedFrame) -> None:
        image = detected.frame.image
        for number, item in enumerate(detected.detections, start=1):
            left, top = np.floor(item.box[:2]).astype(int)
            right, bottom = np.ceil(item.box[2:]).astype(int)
            # A class name cannot lead out of the folder.
            folder = re.sub(r"[/\\\0]|^\.+", "_", item.name)
            path = self._folder.file("crops", folder, f"{detected.frame.name}-{number}.png")
            _write_image(path, image[top:bottom, left:right, ::-1])


class Drawn(ImageOutput):
    """`<name>.jpg` of an image; `<name>.mp4` of a video, with as many frames, of the same size and rate."""

    def __init__(self, folder: OutFolder, sources: Sequence[MediaSource], classes: Sequence[str]) -> None:
        self._folder = folder
        for source in sources:  # refused before the work begins
            folder.file(_file_name(source))
        self._source: MediaSource | None = None
        self._video = ExitStack()

    def add(self, detected: DetectedFrame) -> None:
        source = detected.frame.source
        if source != self._source:
            self._video.close()
            self._source = source
            if detected.frame.number is not None:
                height, width = detected.frame.image.shape[:2]
                video = _video_sink(self._folder, source, sv.VideoInfo(width, height, detected.frame.rate))
                self._sink = self._video.enter_context(video)
        if detected.frame.number is None:
            _write_image(self._folder.file(_file_name(source)), detected.drawn)
        else:
            self._sink.write_frame(detected.drawn)

    def __exit__(self, *exception: object) -> None:
        self._video.close()


def _file_name(source: MediaSource) -> str:
    return f"{source.name}.jpg" if source.kind == "image" else f"{source.name}.mp4"


def _write_image(path: Path, image: Image) -> None:
    """Writes a BGR image (H, W, 3) in the format of the path's extension."""
    _, encoded = cv2.imencode(path.suffix, image)
    with explain_writing(path, DataError):
        path.write_bytes(encoded.tobytes())


@contextmanager
def _video_sink(folder: OutFolder, source: MediaSource, info: sv.VideoInfo) -> Iterator[sv.VideoSink]:
    """Writes a video under another name, until it is complete."""
    path = folder.file(_file_name(source))
    partial = folder.file(f".partial-{_file_name(source)}")  # FFmpeg knows the format by the extension
    try:
        sink = sv.VideoSink(str(partial), info).__enter__()
    except RuntimeError:
        raise DataError(f"cannot write the video {path.absolute()}; check the folder") from None
    try:
        yield sink
    finally:
        sink.__exit__(None, None, None)
        with explain_writing(path, DataError):
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)


class ScreenClosedError(Exception):
    """The user has closed the window, or pressed a key that ends the work."""


class Screen(ImageOutput):
    """Shows each frame in a window; an image stays until a key is pressed. `q`, Escape or closing it ends the work."""

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

    def add(self, detected: DetectedFrame) -> None:
        """Shows a frame.

        Raises:
            ScreenClosedError: the window was closed, or `q` or Escape pressed.
        """
        cv2.imshow(TITLE, detected.drawn)
        key = cv2.waitKey(1)
        while detected.frame.number is None and key < 0 and self._is_open():
            self._check()
            key = cv2.waitKey(WAIT)
        if key in ENDING_KEYS or not self._is_open():
            raise ScreenClosedError

    def _is_open(self) -> bool:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def __exit__(self, *exception: object) -> None:
        cv2.destroyAllWindows()


def _has_display() -> bool:
    """Whether a window can be opened; tried in a subprocess, as OpenCV ends the process where there is no display."""
    trial = f"import cv2; cv2.namedWindow({TITLE!r}, cv2.WINDOW_NORMAL); cv2.destroyAllWindows()"
    return subprocess.run([sys.executable, "-c", trial], capture_output=True, check=False).returncode == 0
