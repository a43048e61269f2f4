"""Reads sources frame by frame; what cannot be read is named and left out."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from ssdcli.detect.sources import Source
from ssdcore.errors import DataError

EXACT = (".mp4", ".m4v", ".mov", ".avi")
"""Videos whose header counts the frames; elsewhere their number is guessed from a duration, to a second."""

USUAL_RATE = 25.0
MOST_PIXELS = 64_000_000
"""In a batch of images, so that large ones do not fill the memory."""


class Frame(NamedTuple):
    """An image, or one of a video.

    Attributes:
        source: what it comes from.
        number: from 0 on; None for an image.
        image: (H, W, 3) uint8 RGB.
        rate: of the video, frames a second; 0 for an image.
    """

    source: Source
    number: int | None
    image: NDArray[np.uint8]
    rate: float = 0.0

    @property
    def name(self) -> str:
        """Unique among all frames of all sources."""
        return self.source.name if self.number is None else f"{self.source.name}-{self.number:06d}"


@dataclass
class Faults:
    """The sources that could not be read, wholly or in part."""

    sources: set[Source] = field(default_factory=set)

    def note(self, source: Source, message: object) -> None:
        """Says what is wrong with a source, which is skipped or left early."""
        self.sources.add(source)
        click.echo(f"skipped: {message}", err=True)


def read_frames(sources: Sequence[Source], faults: Faults) -> Iterator[Frame]:
    """All frames of all sources in order."""
    for source in sources:
        try:
            yield from _read_image(source) if source.kind == "image" else _read_video(source)
        except DataError as error:
            faults.note(source, error)


def count_frames(sources: Sequence[Source]) -> int:
    """How many frames there will be, as far as the videos' headers tell; live sources have none."""
    return sum(_count(source) for source in sources if not source.live)


def batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """Groups of frames: up to `size`, fewer where they are large, and single ones as they happen."""
    group: list[Frame] = []
    for frame in frames:
        group.append(frame)
        pixels = sum(one.image.size // 3 for one in group)
        if len(group) == size or pixels > MOST_PIXELS or frame.source.live:
            yield group
            group = []
    if group:
        yield group


def _read_image(source: Source) -> Iterator[Frame]:
    from ssdcore.detection.detector import read_image

    yield Frame(source, None, read_image(Path(source.address)))


def _count(source: Source) -> int:
    """As many as a video's header promises; 1 for an image, or where there is no telling."""
    if source.kind == "image":
        return 1
    try:
        with _opened(source) as capture:
            return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 1)
    except DataError:  # named when its turn comes
        return 1


def _read_video(source: Source) -> Iterator[Frame]:
    """The frames of a video file, a camera or a stream."""
    with _opened(source) as capture:
        rate, promised = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = rate if math.isfinite(rate) and rate > 0 else USUAL_RATE
        number, size = 0, None
        while (image := capture.read()[1]) is not None:
            size = size or image.shape
            if image.shape != size:  # a video that is written cannot follow
                raise DataError(f"{_where(source)} changes its size at frame {number}; the rest of it is left out")
            yield Frame(source, number, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), rate)
            number += 1
    guess = 0 if Path(source.address).suffix.lower() in EXACT else rate
    if number == 0 or (not source.live and number + guess < promised):
        raise DataError(f"{_where(source)} is cut off or damaged: of its {promised} frames {number} could be read")


@contextmanager
def _opened(source: Source) -> Iterator[Any]:
    """A `cv2.VideoCapture`; supervision has none for cameras, and would open a stream twice.

    Raises:
        DataError: it cannot be opened.
    """
    # What FFmpeg and OpenCV print of their own accord goes without saying: what is wrong is said below.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(int(source.address) if source.kind == "camera" else source.address)
    try:
        if not capture.isOpened():
            raise DataError(_why_not(source))
        yield capture
    finally:
        capture.release()


def _why_not(source: Source) -> str:
    if source.kind == "camera":
        return f"there is no camera {source.address} that could be opened; check that it is connected and not in use"
    if source.kind == "stream":
        return f"the stream {source.shown} cannot be opened; check its address, and whether it plays elsewhere"
    if not Path(source.address).is_file():
        return f"cannot read the video {_where(source)}: No such file or directory"
    return f"{_where(source)} is not a readable video: it is empty, cut off, or in a format that OpenCV cannot read"


def _where(source: Source) -> str:
    return str(Path(source.address).absolute()) if source.kind == "video" else source.shown
