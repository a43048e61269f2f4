"""Writes detections as the official programs of Pascal VOC and COCO read them."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from ssdcore.data.records.ground_truth import GroundTruth, index_by_name
from ssdcore.detection.detections import Detections
from ssdcore.errors import DataError
from ssdcore.evaluation.coco import category_ids, dataset, image_entry, image_ids, object_entries, result_entries
from ssdcore.files import atomic_file, explain_writing, require_unused, write_atomic

RESULTS = "coco_results.json"
ANNOTATIONS = "coco_annotations.json"


def voc_file_names(split: str, classes: Sequence[str]) -> list[str]:
    """The file of each class; `/` and `\\`, which no file name can have, become `_`.

    Raises:
        DataError: two classes would have the same one.
    """
    names = [f"comp4_det_{split}_{name}.txt".replace("/", "_").replace("\\", "_") for name in classes]
    if len(set(names)) < len(names):
        raise DataError("two classes differ in '/', '\\' or '_' only, their VOC files would have the same name")
    return names


def voc_lines(name: str, detections: Detections) -> list[tuple[int, str]]:
    """Label and line `image score xmin ymin xmax ymax` of each detection in an image."""
    columns = detections.labels.tolist(), detections.scores.tolist(), detections.boxes.tolist()
    return [
        (label, f"{name} {score!r} {' '.join(map(repr, box))}\n") for label, score, box in zip(*columns, strict=True)
    ]


class ResultFiles:
    """Files that are written image by image, and appear when all are complete.

    They hold exactly the numbers that are scored: boxes in pixels in the coordinates of the annotations, so that
    VOC's annotations, which begin at 1, need no shift.
    """

    def __init__(self, out: Path, split: str, classes: Sequence[str], images: Sequence[GroundTruth]) -> None:
        """Prepares the files.

        Args:
            out: folder to make.
            split: part of the names of VOC's files.
            classes: names of classes 1..C.
            images: in the order in which they will be added.

        Raises:
            DataError: the folder is in use, or images or classes cannot be told apart by their names.
        """
        require_unused(out, DataError)
        self._out = out
        self._voc_names = voc_file_names(split, classes)
        self._image_ids, self._categories = image_ids(list(index_by_name(images))), category_ids(classes)
        self._contents = dataset(classes, {"description": f"objects of the split {split}, as ssdcore scores them"})
        self._count = 0

    def __enter__(self) -> Self:
        with explain_writing(self._out, DataError):
            self._out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self._voc = [self._open(stack, name) for name in self._voc_names]
            self._results = self._open(stack, RESULTS)
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack, name: str) -> BinaryIO:
        return stack.enter_context(atomic_file(self._out / name, DataError))

    def add(self, truth: GroundTruth, detections: Detections) -> None:
        """Writes the detections of the next image."""
        images, annotations = self._contents["images"], self._contents["annotations"]
        image_id = self._image_ids[len(images)]
        for label, line in voc_lines(truth.name, detections):
            self._voc[label - 1].write(line.encode())
        images.append(image_entry(truth, image_id))
        annotations += object_entries(truth, image_id, self._categories, len(annotations) + 1)
        for entry in result_entries(detections, image_id, self._categories):
            self._results.write(f"{',' if self._count else '['}\n{json.dumps(entry)}".encode())
            self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._results.write(b"\n]\n" if self._count else b"[]\n")
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            content = (json.dumps(self._contents, ensure_ascii=False) + "\n").encode()
            write_atomic(self._out / ANNOTATIONS, content, DataError)
