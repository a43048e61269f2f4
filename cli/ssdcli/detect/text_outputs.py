"""Detections as text: JSON, CSV, and the files of COCO and Pascal VOC; written frame by frame.

Each format is a context manager that writes the beginning of its files, gives a function that writes a frame's
detections, and writes the end, also after an interruption.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from ssdcli.detect.sources import Frame, MediaSource
from ssdcli.draw import draw
from ssdcli.output import csv_text
from ssdcore.detection import Detections
from ssdcore.errors import DataError
from ssdcore.evaluation.coco import category_ids, dataset, image_ids, result_entries
from ssdcore.evaluation.write_results import json_list, voc_lines
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


Output = AbstractContextManager[Callable[[DetectedFrame], object]]
"""Writes one format by the function that it gives. Leaving it completes its files, also after an interruption."""


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


@contextmanager
def text_files(begin: Callable[..., Output], *paths: Path) -> Iterator[Any]:
    """Files that appear when it is left, with what `begin`, one of the functions below, writes into them."""
    interruption: BaseException | None = None
    with ExitStack() as stack:
        files = [stack.enter_context(atomic_file(path, DataError)) for path in paths]
        try:
            with begin(*files) as add:
                yield add
        except OSError:  # explained by `atomic_file`, and the files are incomplete
            raise
        except BaseException as error:
            interruption = error
    if interruption:
        raise interruption


@contextmanager
def write_json(file: BinaryIO) -> Iterator[Any]:
    """A list of frames."""
    with json_list(file) as add:
        yield lambda detected: add(detected.as_dict())


@contextmanager
def write_json_lines(file: BinaryIO) -> Iterator[Any]:
    """A line for each frame."""
    yield lambda detected: file.write((json.dumps(detected.as_dict(), ensure_ascii=False) + "\n").encode())


@contextmanager
def write_csv(file: BinaryIO) -> Iterator[Any]:
    """A row for each detection; frames without detections have none."""

    def add(detected: DetectedFrame) -> None:
        values = detected.as_dict()
        first = values["source"], values["frame"], values["name"]
        rows = [(*first, item["class"], item["label"], item["score"], *item["box"]) for item in values["detections"]]
        file.write(csv_text(rows).encode())

    file.write(csv_text([CSV_COLUMNS]).encode())
    yield add


@contextmanager
def write_voc(*files: BinaryIO) -> Iterator[Any]:
    """Lines `image score xmin ymin xmax ymax` in a file for each class."""

    def add(detected: DetectedFrame) -> None:
        for label, line in voc_lines(detected.frame.name, detected.detections):
            files[label - 1].write(line.encode())

    yield add


@contextmanager
def write_coco(
    sources: Sequence[MediaSource], classes: Sequence[str], results: BinaryIO, annotations: BinaryIO
) -> Iterator[Any]:
    """A list of results, and a file that says which images and classes its ids are.

    Image ids are the names where all sources are images whose names are numbers, as in COCO; else 1, 2, ...
    """
    names, categories, numbers = [source.name for source in sources], category_ids(classes), count(1)
    only_images = all(source.kind == "image" for source in sources)
    ids = dict(zip(names, image_ids(names), strict=True)) if only_images else {}
    contents = dataset(classes, {"description": "images that ssd detect looked at"})
    del contents["images"]
    annotations.write((json.dumps(contents, ensure_ascii=False)[:-1] + ', "images": ').encode())
    with json_list(results) as add_result, json_list(annotations, "}") as add_image:

        def add(detected: DetectedFrame) -> None:
            frame, number = detected.frame, next(numbers)
            image_id = ids.get(frame.name, number)
            height, width = frame.image.shape[:2]
            name = Path(frame.source.address).name if frame.number is None else f"{frame.name}.jpg"
            add_image({"id": image_id, "file_name": name, "width": width, "height": height})
            for entry in result_entries(detected.detections, image_id, categories):
                add_result(entry)

        yield add
