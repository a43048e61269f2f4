"""What is written of detections: one class for each format, fed frame by frame so that memory stays flat."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ssdcli.detect.frames import Frame
from ssdcli.detect.sources import Source
from ssdcli.draw import draw
from ssdcore.detection import Detections
from ssdcore.errors import DataError


@dataclass(frozen=True)
class Result:
    """A frame and what was found in it."""

    frame: Frame
    found: Detections

    @cached_property
    def drawn(self) -> NDArray[np.uint8]:
        """(H, W, 3) BGR with the detections drawn, made once for all who want it."""
        return draw(self.frame.image[..., ::-1], self.found)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        height, width = self.frame.image.shape[:2]
        return {
            "source": self.frame.source.shown,
            "frame": self.frame.number,
            "name": self.frame.name,
            "width": width,
            "height": height,
            "detections": self.found.as_dicts(),
        }


class Output(Protocol):
    """Writes one format. Leaving it finishes its files, also when the work was interrupted."""

    def __enter__(self) -> Self: ...

    def add(self, result: Result) -> None:
        """Writes a frame's detections."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class OutFolder:
    """Gives the paths of files to write, and none that is a source."""

    def __init__(self, path: Path, sources: Sequence[Source]) -> None:
        self.path = path
        files = {Path(source.address): source.kind for source in sources if not source.live}
        self._originals = {_identity(file): kind for file, kind in files.items() if file.exists()}

    def file(self, *parts: str) -> Path:
        """The path of a file, whose folder is there.

        Raises:
            DataError: it is one of the sources, or its folder cannot be made.
        """
        path = self.path.joinpath(*parts)
        if path.exists() and (kind := self._originals.get(_identity(path))):
            raise DataError(f"{path.absolute()} is one of the {kind}s; choose another --out")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot make the folder {path.parent.absolute()}: {error.strerror}") from None
        return path


def _identity(path: Path) -> tuple[int, int]:
    """What a file is whatever its name: links, and names in capitals on some systems, are seen through."""
    status = path.stat()
    return status.st_dev, status.st_ino
