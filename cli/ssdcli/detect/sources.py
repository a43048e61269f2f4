"""What the SOURCE arguments mean (images, videos, cameras and streams), and their frames."""

import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import click
import cv2

from ssdcore.data.formats.image_files import IMAGE_EXTENSIONS
from ssdcore.errors import DataError
from ssdcore.types import Image

VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"),
    *(".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp", ".ogv"),
)
STDIN = "-"

EXACT = (".mp4", ".m4v", ".mov", ".avi")
"""Videos whose header has the number of frames; for others it is estimated from the duration, to a second."""

DEFAULT_RATE = 25.0
MAX_PIXELS = 64_000_000
"""Of a batch of images, so that large ones do not fill the memory."""

Kind = Literal["image", "video", "camera", "stream"]


@dataclass(frozen=True)
class MediaSource:
    """An image, a video, a camera or a stream.

    Attributes:
        address: path, number of a camera, or URL.
        kind: what it is.
        name: of its output files; unique among the sources.
    """

    address: str
    kind: Kind
    name: str

    @property
    def live(self) -> bool:
        """Whether its frames come in real time, without a known end."""
        return self.kind in ("camera", "stream")

    @property
    def shown(self) -> str:
        """The address without a password."""
        return re.sub(r"(?<=://)[^/@]*@", "", self.address)


def find_sources(texts: Sequence[str], stdin: Iterable[str]) -> list[MediaSource]:
    """The sources that arguments name, each once, in order; `-` stands for the lines of `stdin`, which are paths.

    Raises:
        DataError: an argument names nothing that exists.
    """
    each = (_from_lines(stdin) if text == STDIN else _from_text(text) for text in texts)
    return _with_unique_names(dict.fromkeys(chain.from_iterable(each)))


def _from_lines(lines: Iterable[str]) -> list[MediaSource]:
    paths = [line.rstrip("\r\n") for line in lines if line.strip()]
    if not paths:
        raise DataError("no paths came on standard input, where '-' wants one on each line")
    return [_file(Path(path)) for path in paths]


def _from_text(text: str) -> list[MediaSource]:
    path = Path(text)
    if path.is_file():
        return [_file(path)]
    if "://" in text:
        parts = urlsplit(text)
        name = re.sub(r"[^\w.-]+", "_", Path(parts.path).stem or parts.hostname or "").strip("._")
        return [MediaSource(text, "stream", name or "stream")]
    if text.isascii() and text.isdecimal() and not path.exists():
        return [MediaSource(text, "camera", f"camera-{int(text)}")]
    # A folder or a pattern; Path.glob does not take absolute ones.
    inside = path.iterdir() if path.is_dir() else map(Path, glob(str(path), recursive=True))  # noqa: PTH207
    files = sorted(item for item in inside if item.suffix.lower() in IMAGE_EXTENSIONS + VIDEOS and item.is_file())
    if not files:
        raise DataError(
            f"{path.absolute()}: no such file, or no images or videos in that folder "
            f"({', '.join(IMAGE_EXTENSIONS)}, {', '.join(VIDEOS)})"
        )
    return [*map(_file, files)]


def _file(path: Path) -> MediaSource:
    return MediaSource(str(path), "video" if path.suffix.lower() in VIDEOS else "image", path.stem)


def _with_unique_names(sources: Collection[MediaSource]) -> list[MediaSource]:
    """Gives equal names numbers; to some file systems names that differ in case only are equal."""
    own = Counter(source.name.casefold() for source in sources)
    taken: set[str] = set()
    named = []
    for source in sources:
        name, number = source.name, 1
        while name.casefold() in taken or (number > 1 and name.casefold() in own):
            number += 1
            name = f"{source.name}-{number}"
        taken.add(name.casefold())
        named.append(replace(source, name=name))
    return named


class Frame(NamedTuple):
    """An image, or one of a video.

    Attributes:
        source: where it comes from.
        number: from 0 on; None for an image.
        image: (H, W, 3) uint8 RGB.
        rate: of the video, frames per second; 0 for an image.
    """

    source: MediaSource
    number: int | None
    image: Image
    rate: float = 0.0

    @property
    def name(self) -> str:
        """Unique among all frames of all sources."""
        return self.source.name if self.number is None else f"{self.source.name}-{self.number:06d}"


def read_frames(sources: Sequence[MediaSource], unreadable: set[MediaSource]) -> Iterator[Frame]:
    """All frames of all sources in order; adds the sources that cannot be read to the end to `unreadable`."""
    from ssdcore.detection.detector import read_image

    for source in sources:
        try:
            if source.kind == "image":
                yield Frame(source, None, read_image(Path(source.address)))
            else:
                yield from _read_video(source)
        except DataError as error:
            unreadable.add(source)
            click.echo(f"skipped: {error}", err=True)


def count_frames(sources: Sequence[MediaSource]) -> int:
    """Number of frames according to the videos' headers, 1 where it is unknown; live sources are not counted."""
    total = sum(not source.live for source in sources)
    for source in sources:
        if source.kind == "video":
            with suppress(DataError), _capture(source) as capture:  # reported when it is read
                total += max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) - 1, 0)
    return total


def batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """Groups of up to `size` frames, fewer where they are large; frames of live sources are not held back."""
    group: list[Frame] = []
    for frame in frames:
        group.append(frame)
        pixels = sum(one.image.size // 3 for one in group)
        if len(group) == size or pixels > MAX_PIXELS or frame.source.live:
            yield group
            group = []
    if group:
        yield group


def _read_video(source: MediaSource) -> Iterator[Frame]:
    """The frames of a video file, a camera or a stream."""
    with _capture(source) as capture:
        rate, stated = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = rate if math.isfinite(rate) and rate > 0 else DEFAULT_RATE
        number, size = 0, None
        while (image := capture.read()[1]) is not None:
            size = size or image.shape
            if image.shape != size:  # the video that is written has one size
                raise DataError(f"{_address(source)} changes its size at frame {number}; the rest is left out")
            yield Frame(source, number, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), rate)
            number += 1
    tolerance = 0 if Path(source.address).suffix.lower() in EXACT else rate
    if number == 0 or (not source.live and number + tolerance < stated):
        raise DataError(f"{_address(source)} is cut off or damaged: of its {stated} frames {number} could be read")


@contextmanager
def _capture(source: MediaSource) -> Iterator[Any]:
    """A `cv2.VideoCapture`; supervision has none for cameras, and would open a stream twice.

    Raises:
        DataError: it cannot be opened.
    """
    # Silences FFmpeg and OpenCV: errors are reported below.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(int(source.address) if source.kind == "camera" else source.address)
    try:
        if not capture.isOpened():
            raise DataError(_why_unreadable(source))
        yield capture
    finally:
        capture.release()


def _why_unreadable(source: MediaSource) -> str:
    if source.kind == "camera":
        return f"there is no camera {source.address} that could be opened; check that it is connected and not in use"
    if source.kind == "stream":
        return f"the stream {source.shown} cannot be opened; check its address, and whether it plays elsewhere"
    if not Path(source.address).is_file():
        return f"cannot read the video {_address(source)}: No such file or directory"
    return f"{_address(source)} is not a readable video: it is empty, cut off, or in a format that OpenCV cannot read"


def _address(source: MediaSource) -> str:
    return str(Path(source.address).absolute()) if source.kind == "video" else source.shown
