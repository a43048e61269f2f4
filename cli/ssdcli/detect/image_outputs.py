"""Detections as images: drawn images and videos, crops, and the screen."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import supervision as sv

from ssdcli.detect import text_outputs as text
from ssdcli.detect.sources import MediaSource
from ssdcli.detect.text_outputs import DetectedFrame, OutFolder, Output
from ssdcore.errors import DataError
from ssdcore.evaluation.write_results import ANNOTATIONS, RESULTS, voc_file_names
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
    if "drawn" in formats:  # refused before the work begins
        for source in sources:
            folder.file(_file_name(source))
    coco = partial(text.write_coco, sources, classes)
    outputs: dict[str, Callable[[], Output]] = {
        "drawn": lambda: drawn(folder),
        "json": lambda: text.text_files(text.write_json, folder.file("detections.json")),
        "jsonl": lambda: text.text_files(text.write_json_lines, folder.file("detections.jsonl")),
        "csv": lambda: text.text_files(text.write_csv, folder.file("detections.csv")),
        "coco": lambda: text.text_files(coco, folder.file(RESULTS), folder.file(ANNOTATIONS)),
        "voc": lambda: text.text_files(text.write_voc, *map(folder.file, voc_file_names(text.SPLIT, classes))),
        "crops": lambda: crops(folder),
    }
    return [outputs[name]() for name in dict.fromkeys(formats)]


@contextmanager
def crops(folder: OutFolder) -> Iterator[Any]:
    """`crops/<class>/<name>-<number>.png`: the pixels that a box touches, numbered best first."""

    def add(detected: DetectedFrame) -> None:
        for number, item in enumerate(detected.detections, start=1):
            left, top = np.floor(item.box[:2]).astype(int)
            right, bottom = np.ceil(item.box[2:]).astype(int)
            # A class name cannot lead out of the folder.
            of_class = re.sub(r"[/\\\0]|^\.+", "_", item.name)
            path = folder.file("crops", of_class, f"{detected.frame.name}-{number}.png")
            _write_image(path, detected.frame.image[top:bottom, left:right, ::-1])

    yield add


@contextmanager
def drawn(folder: OutFolder) -> Iterator[Any]:
    """`<name>.jpg` of an image; `<name>.mp4` of a video, with as many frames, of the same size and rate."""
    sink: sv.VideoSink

    def add(detected: DetectedFrame) -> None:
        nonlocal sink
        frame = detected.frame
        name, height, width = _file_name(frame.source), *frame.image.shape[:2]
        if not frame.number:  # an image, or the first frame of a video
            video.close()
        if frame.number is None:
            _write_image(folder.file(name), detected.drawn)
            return
        if frame.number == 0:
            sink = video.enter_context(_video_sink(folder, name, sv.VideoInfo(width, height, frame.rate)))
        sink.write_frame(detected.drawn)

    with ExitStack() as video:
        yield add


def _file_name(source: MediaSource) -> str:
    return f"{source.name}.jpg" if source.kind == "image" else f"{source.name}.mp4"


def _write_image(path: Path, image: Image) -> None:
    """Writes a BGR image (H, W, 3) in the format of the path's extension."""
    _, encoded = cv2.imencode(path.suffix, image)
    with explain_writing(path, DataError):
        path.write_bytes(encoded.tobytes())


@contextmanager
def _video_sink(folder: OutFolder, name: str, info: sv.VideoInfo) -> Iterator[sv.VideoSink]:
    """Writes a video under another name, until it is complete."""
    path, unfinished = folder.file(name), folder.file(f".partial-{name}")  # FFmpeg knows the format by the extension
    try:
        sink = sv.VideoSink(str(unfinished), info).__enter__()
    except RuntimeError:
        raise DataError(f"cannot write the video {path.absolute()}; check the folder") from None
    try:
        yield sink
    finally:
        sink.__exit__(None, None, None)
        with explain_writing(path, DataError):
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)


class ScreenClosedError(Exception):
    """The user has closed the window, or pressed a key that ends the work."""


@contextmanager
def screen(check: Callable[[], None]) -> Iterator[Any]:
    """Shows each frame in a window; an image stays until a key is pressed. `q`, Escape or closing it ends the work.

    `check` is called while it waits for a key, and may end the work.

    Raises:
        DataError: no window can be opened here.
        ScreenClosedError: by the function: the window was closed, or `q` or Escape pressed.
    """
    if not _has_display():
        raise DataError("--show: there is no display to open a window on; leave --show out and look at --out")

    def is_open() -> bool:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def add(detected: DetectedFrame) -> None:
        cv2.imshow(TITLE, detected.drawn)
        key = cv2.waitKey(1)
        while detected.frame.number is None and key < 0 and is_open():
            check()
            key = cv2.waitKey(WAIT)
        if key in ENDING_KEYS or not is_open():
            raise ScreenClosedError

    cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
    try:
        yield add
    finally:
        cv2.destroyAllWindows()


def _has_display() -> bool:
    """Whether a window can be opened; tried in a subprocess, as OpenCV ends the process where there is no display."""
    trial = f"import cv2; cv2.namedWindow({TITLE!r}, cv2.WINDOW_NORMAL); cv2.destroyAllWindows()"
    return subprocess.run([sys.executable, "-c", trial], capture_output=True, check=False).returncode == 0
