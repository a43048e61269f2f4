"""Writes detections as the official programs of Pascal VOC and COCO read them."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ssdcore.data.output import partial_path, publish, require_unused, write_whole
from ssdcore.errors import DataError
from ssdcore.evaluation.coco import dataset, image_entry, object_entries, result_entries
from ssdcore.evaluation.coco_ids import category_ids, image_ids
from ssdcore.evaluation.ground_truth import Found, Truth, unique_names

RESULTS = "coco_results.json"
ANNOTATIONS = "coco_annotations.json"


def voc_file_name(split: str, name: str) -> str:
    """The file of a class; `/` and `\\`, which no file name can have, become `_`."""
    return f"comp4_det_{split}_{name}.txt".replace("/", "_").replace("\\", "_")


class ResultFiles:
    """Files that grow image by image, and get their names when all are whole.

    They hold the very numbers that are scored: boxes in pixels as the annotations count them, so that
    VOC's annotations, which begin at 1, need no shift.
    """

    def __init__(self, out: Path, split: str, classes: Sequence[str], truths: Sequence[Truth]) -> None:
        """Prepares the files.

        Args:
            out: folder to make.
            split: its name goes into the names of VOC's files.
            classes: names of classes 1..C.
            truths: the images, in the order in which they will be added.

        Raises:
            DataError: the folder is in use, or images or classes cannot be told apart by their names.
        """
        require_unused(out)
        self._voc = [out / voc_file_name(split, name) for name in classes]
        if len(set(self._voc)) < len(classes):
            raise DataError("two classes differ in '/', '\\' or '_' only, their result files would have one name")
        self._numbers = [image_ids(list(unique_names(truths))), category_ids(classes)]
        self._results, self._annotations = out / RESULTS, out / ANNOTATIONS
        self._contents = dataset(classes, {"description": f"objects of the split {split}, as ssdcore scores them"})
        self._open: list[IO[str]] = []
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        self._results.parent.mkdir(parents=True, exist_ok=True)
        paths = [partial_path(path) for path in (*self._voc, self._results)]
        self._open = [self._stack.enter_context(path.open("w", encoding="utf-8", newline="\n")) for path in paths]
        return self

    def add(self, truth: Truth, found: Found) -> None:
        """Writes the detections of the next image."""
        images, (numbers, categories) = self._contents["images"], self._numbers
        number = numbers[len(images)]
        for box, score, label in zip(*(part.tolist() for part in found[:3]), strict=True):
            sides = " ".join(map(repr, box))
            self._open[label - 1].write(f"{truth.name} {score!r} {sides}\n")
        images.append(image_entry(truth, number))
        objects: list[Any] = self._contents["annotations"]
        objects += object_entries(truth, number, categories, len(objects) + 1)
        for entry in result_entries(found, number, categories):
            self._open[-1].write(("[\n" if self._count == 0 else ",\n") + json.dumps(entry))
            self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._open[-1].write("\n]\n" if self._count else "[]\n")
        self._stack.close()
        for path in (*self._voc, self._results):
            if kind is None:
                publish(partial_path(path), path)
            else:
                partial_path(path).unlink(missing_ok=True)
        if kind is None:
            write_whole(self._annotations, (json.dumps(self._contents, ensure_ascii=False) + "\n").encode())
