"""Writes detections as the official programs of Pascal VOC and COCO read them."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

from ssdcore.data.records.ground_truth import GroundTruth, index_by_name
from ssdcore.detection.detections import Detections
from ssdcore.errors import DataError
from ssdcore.evaluation.coco import add_image, category_ids, dataset, image_ids, result_entries
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


@contextmanager
def json_list(file: BinaryIO, tail: str = "") -> Iterator[Callable[[Any], object]]:
    """Writes a JSON list into a file, one item per line, by the function that it gives; then `tail`."""
    separators = chain(["\n"], repeat(",\n"))
    file.write(b"[")
    try:
        yield lambda item: file.write((next(separators) + json.dumps(item, ensure_ascii=False)).encode())
    finally:
        file.write(f"\n]{tail}\n".encode())


@contextmanager
def write_results(
    out: Path, split: str, classes: Sequence[str], images: Sequence[GroundTruth]
) -> Iterator[Callable[[GroundTruth, Detections], None]]:
    """Writes files image by image, by the function that it gives; they appear when all are complete.

    They hold exactly the numbers that are scored: boxes in pixels in the coordinates of the annotations, so that
    VOC's annotations, which begin at 1, need no shift.

    Args:
        out: folder to make.
        split: part of the names of VOC's files.
        classes: names of classes 1..C.
        images: in the order in which they will be added.

    Raises:
        DataError: the folder is in use or cannot be written, or images or classes cannot be distinguished by name.
    """
    require_unused(out, DataError)
    paths = [out / name for name in (*voc_file_names(split, classes), RESULTS)]
    ids, categories = iter(image_ids(list(index_by_name(images)))), category_ids(classes)
    contents = dataset(classes, {"description": f"objects of the split {split}, as ssdcore scores them"})
    with explain_writing(out, DataError):
        out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        *voc, results = [stack.enter_context(atomic_file(path, DataError)) for path in paths]
        add_result = stack.enter_context(json_list(results))

        def add(truth: GroundTruth, detections: Detections) -> None:
            image_id = next(ids)
            for label, line in voc_lines(truth.name, detections):
                voc[label - 1].write(line.encode())
            add_image(contents, truth, image_id, categories)
            for entry in result_entries(detections, image_id, categories):
                add_result(entry)

        yield add
    write_atomic(out / ANNOTATIONS, (json.dumps(contents, ensure_ascii=False) + "\n").encode(), DataError)
