"""What the texts that a user gives as sources mean: images, videos, cameras and streams."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ssdcore.errors import DataError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"),
    *(".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp", ".ogv"),
)
STDIN = "-"
Kind = Literal["image", "video", "camera", "stream"]


@dataclass(frozen=True)
class Source:
    """Something to find objects in.

    Attributes:
        address: path, number of a camera, or URL.
        kind: what it is.
        name: what is written of it is named so; no two sources share one.
    """

    address: str
    kind: Kind
    name: str

    @property
    def live(self) -> bool:
        """Whether it comes as it happens, without a known end."""
        return self.kind in ("camera", "stream")

    @property
    def shown(self) -> str:
        """The address without a password."""
        return re.sub(r"(?<=://)[^/@]*@", "", self.address)


def find_sources(texts: Sequence[str], stdin: Iterable[str]) -> list[Source]:
    """The sources that texts mean, each once, in order; `-` stands for the lines of `stdin`, which are paths.

    Raises:
        DataError: a text means nothing that is there.
    """
    found: dict[tuple[str, Kind], Source] = {}
    for text in texts:
        for source in _from_lines(stdin) if text == STDIN else _from_text(text):
            found.setdefault((source.address, source.kind), source)
    return _with_unique_names(list(found.values()))


def _from_lines(lines: Iterable[str]) -> Iterator[Source]:
    paths = [line.rstrip("\r\n") for line in lines if line.strip()]
    if not paths:
        raise DataError("no paths came on standard input, where '-' wants one on each line")
    yield from (_file(Path(path)) for path in paths)


def _from_text(text: str) -> Iterator[Source]:
    path = Path(text)
    if path.is_file():
        yield _file(path)
    elif "://" in text:
        yield Source(text, "stream", _name_of(text))
    elif text.isascii() and text.isdecimal() and not path.exists():
        yield Source(text, "camera", f"camera-{int(text)}")
    else:
        yield from _from_folder(path)


def _from_folder(path: Path) -> Iterator[Source]:
    """The images and videos in a folder, or those that a pattern means."""
    # Path.glob does not take absolute patterns.
    inside = path.iterdir() if path.is_dir() else map(Path, glob(str(path), recursive=True))  # noqa: PTH207
    files = sorted(item for item in inside if item.suffix.lower() in IMAGES + VIDEOS and item.is_file())
    if not files:
        raise DataError(
            f"{path.absolute()}: no such file, or no images or videos in that folder "
            f"({', '.join(IMAGES)}, {', '.join(VIDEOS)})"
        )
    yield from map(_file, files)


def _file(path: Path) -> Source:
    return Source(str(path), "video" if path.suffix.lower() in VIDEOS else "image", path.stem)


def _name_of(url: str) -> str:
    parts = urlsplit(url)
    return re.sub(r"[^\w.-]+", "_", Path(parts.path).stem or parts.hostname or "").strip("._") or "stream"


def _with_unique_names(sources: Sequence[Source]) -> list[Source]:
    """Equal names get numbers; names that differ in case only are equal to some file systems."""
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
