"""Images and videos with boxes drawn on them."""

from collections.abc import Sequence
from typing import Self

import supervision as sv

from ssdcli.detect.image_file import write_image
from ssdcli.detect.outputs import OutFolder, Result
from ssdcli.detect.sources import Source
from ssdcore.data.output import publish
from ssdcore.errors import DataError


class Drawn:
    """`<name>.jpg` of an image; `<name>.mp4` of a video, with as many frames, of the same size and rate."""

    def __init__(self, folder: OutFolder, sources: Sequence[Source], classes: Sequence[str]) -> None:
        self._folder = folder
        for source in sources:  # refused before the work, not in the midst of it
            folder.file(_file_name(source))
        self._video: _Video | None = None

    def __enter__(self) -> Self:
        return self

    def add(self, result: Result) -> None:
        source = result.frame.source
        if self._video and self._video.source != source:
            self._finish_video()
        if result.frame.number is None:
            write_image(self._folder.file(_file_name(source)), result.drawn)
            return
        if self._video is None:
            self._video = _Video(self._folder, result)
        self._video.add(result)

    def _finish_video(self) -> None:
        if self._video:
            video, self._video = self._video, None
            video.finish()

    def __exit__(self, *exception: object) -> None:
        self._finish_video()


def _file_name(source: Source) -> str:
    return f"{source.name}.jpg" if source.kind == "image" else f"{source.name}.mp4"


class _Video:
    """A video being written, under another name until it is whole."""

    def __init__(self, folder: OutFolder, first: Result) -> None:
        self.source = first.frame.source
        self._path = folder.file(_file_name(self.source))
        # FFmpeg knows the format by the ending.
        self._partial = folder.file(f".partial-{_file_name(self.source)}")
        height, width = first.frame.image.shape[:2]
        self._sink = sv.VideoSink(str(self._partial), sv.VideoInfo(width, height, first.frame.rate))
        try:
            self._sink.__enter__()
        except RuntimeError:
            raise DataError(f"cannot write the video {self._path.absolute()}; check the folder") from None

    def add(self, result: Result) -> None:
        self._sink.write_frame(result.drawn)

    def finish(self) -> None:
        self._sink.__exit__(None, None, None)
        publish(self._partial, self._path)
