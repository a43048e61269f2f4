"""Detections as text: JSON, CSV, and the files of COCO and Pascal VOC; written frame by frame."""

import csv
import io
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Protocol, Self

from ssdcli.detect.sources import Frame, MediaSource
from ssdcli.draw import draw
from ssdcore.detection import Detections
from ssdcore.errors import DataError
from ssdcore.evaluation.coco import category_ids, dataset, image_ids, result_entries
from ssdcore.evaluation.write_results import ANNOTATIONS, RESULTS, voc_file_names, voc_lines
from ssdcore.files import atomic_file, explain_writing
from ssdcore.types import Image

CSV_COLUMNS = ("source", "frame", "name", "class", "label", "score", "xmin", "ymin", "xmax", "ymax")

SPLIT = "detected"
"""In the names of VOC's files, in place of the data set's split."""


@dataclass(frozen=True)
class DetectedFrame:
    """A frame and its detections."""

    frame: Frame
    detections: Detections

    @cached_property
    def drawn(self) -> Image:
        """(H, W, 3) BGR with the detections drawn, made once for all outputs."""
        return draw(self.frame.image[..., ::-1], self.detections)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        height, width = self.frame.image.shape[:2]
        return {
            "source": self.frame.source.shown,
            "frame": self.frame.number,
            "name": self.frame.name,
            "width": width,
            "height": height,
            "detections": self.detections.as_dicts(),
        }


class Output(Protocol):
    """Writes one format. Leaving it completes its files, also after an interruption."""

    def __enter__(self) -> Self: ...

    def add(self, detected: DetectedFrame) -> None:
        """Writes a frame's detections."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class OutFolder:
    """Gives the paths of files to write, and none that is a source."""

    def __init__(self, path: Path, sources: Sequence[MediaSource]) -> None:
        self.path = path
        files = {Path(source.address): source.kind for source in sources if not source.live}
        self._originals = {_identity(file): kind for file, kind in files.items() if file.exists()}

    def file(self, *parts: str) -> Path:
        """The path of a file; makes its folder.

        Raises:
            DataError: it is one of the sources, or its folder cannot be made.
        """
        path = self.path.joinpath(*parts)
        if path.exists() and (kind := self._originals.get(_identity(path))):
            raise DataError(f"{path.absolute()} is one of the {kind}s; choose another --out")
        with explain_writing(path.parent, DataError):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _identity(path: Path) -> tuple[int, int]:
    """Identifies a file by device and inode, through links and, on some systems, names in capitals."""
    status = path.stat()
    return status.st_dev, status.st_ino


class TextOutput:
    """Base of formats that are text files, which appear when it is left."""

    NAMES: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: OutFolder, sources: Sequence[MediaSource], classes: Sequence[str]) -> None:
        self._paths = [folder.file(name) for name in self.NAMES or voc_file_names(SPLIT, classes)]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._files = [stack.enter_context(atomic_file(path, DataError)) for path in self._paths]
            self._begin()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._stack:
            if isinstance(error, OSError):  # explained by `atomic_file`, and the files are incomplete
                raise error
            self._end()

    def _begin(self) -> None:
        """Writes the beginning of the files."""

    def _end(self) -> None:
        """Writes their end."""


class _JsonList:
    """Writes a JSON list into a file, one item per line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._separator = file, "\n"
        file.write(b"[")

    def add(self, item: Any) -> None:
        self._file.write((self._separator + json.dumps(item, ensure_ascii=False)).encode())
        self._separator = ",\n"

    def end(self, tail: str = "") -> None:
        self._file.write(f"\n]{tail}\n".encode())


class Json(TextOutput):
    """A list of frames."""

    NAMES = ("detections.json",)

    def _begin(self) -> None:
        self._list = _JsonList(self._files[0])

    def add(self, detected: DetectedFrame) -> None:
        self._list.add(detected.as_dict())

    def _end(self) -> None:
        self._list.end()


class JsonLines(TextOutput):
    """A line for each frame."""

    NAMES = ("detections.jsonl",)

    def add(self, detected: DetectedFrame) -> None:
        self._files[0].write((json.dumps(detected.as_dict(), ensure_ascii=False) + "\n").encode())


class Csv(TextOutput):
    """A row for each detection; frames without detections have none."""

    NAMES = ("detections.csv",)

    def _begin(self) -> None:
        self._write(CSV_COLUMNS)

    def add(self, detected: DetectedFrame) -> None:
        values = detected.as_dict()
        for item in values["detections"]:
            first = [values["source"], values["frame"], values["name"]]
            self._write([*first, item["class"], item["label"], item["score"], *item["box"]])

    def _write(self, row: Sequence[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        self._files[0].write(text.getvalue().encode())


class VocResults(TextOutput):
    """Lines `image score xmin ymin xmax ymax` in a file for each class."""

    def add(self, detected: DetectedFrame) -> None:
        for label, line in voc_lines(detected.frame.name, detected.detections):
            self._files[label - 1].write(line.encode())


class CocoResults(TextOutput):
    """A list of results, and a file that says which images and classes its ids are.

    Image ids are the names where all sources are images whose names are numbers, as in COCO; else 1, 2, ...
    """

    NAMES = (RESULTS, ANNOTATIONS)

    def __init__(self, folder: OutFolder, sources: Sequence[MediaSource], classes: Sequence[str]) -> None:
        super().__init__(folder, sources, classes)
        self._categories = category_ids(classes)
        names = [source.name for source in sources]
        only_images = all(source.kind == "image" for source in sources)
        self._ids = dict(zip(names, image_ids(names), strict=True)) if only_images else {}
        contents = dataset(classes, {"description": "images that ssd detect looked at"})
        del contents["images"]
        self._head = json.dumps(contents, ensure_ascii=False)[:-1] + ', "images": '
        self._count = 0

    def _begin(self) -> None:
        results, annotations = self._files
        annotations.write(self._head.encode())
        self._results, self._images = _JsonList(results), _JsonList(annotations)

    def add(self, detected: DetectedFrame) -> None:
        self._count += 1
        frame = detected.frame
        image_id = self._ids.get(frame.name, self._count)
        height, width = frame.image.shape[:2]
        name = Path(frame.source.address).name if frame.number is None else f"{frame.name}.jpg"
        self._images.add({"id": image_id, "file_name": name, "width": width, "height": height})
        for entry in result_entries(detected.detections, image_id, self._categories):
            self._results.add(entry)

    def _end(self) -> None:
        self._results.end()
        self._images.end("}")
