"""Results as the programs of Pascal VOC and COCO read them, and `ssd eval`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from ssdcli.detect.outputs import OutFolder, Result
from ssdcli.detect.sources import Source
from ssdcli.detect.text_file import JsonListFile, TextFile
from ssdcore.errors import DataError
from ssdcore.evaluation.coco import dataset, result_entries
from ssdcore.evaluation.coco_ids import category_ids, image_ids
from ssdcore.evaluation.ground_truth import Found
from ssdcore.evaluation.write_results import ANNOTATIONS, RESULTS, voc_file_name

SPLIT = "detected"
"""In the names of VOC's files, where a data set's split stands otherwise."""


class VocResults:
    """Lines `image score xmin ymin xmax ymax` in a file for each class."""

    def __init__(self, folder: OutFolder, sources: Sequence[Source], classes: Sequence[str]) -> None:
        self._paths = [folder.file(voc_file_name(SPLIT, name)) for name in classes]
        if len(set(self._paths)) < len(classes):
            raise DataError("two classes differ in '/', '\\' or '_' only, their VOC files would have one name")

    def __enter__(self) -> Self:
        self._files = [TextFile(path) for path in self._paths]
        return self

    def add(self, result: Result) -> None:
        for box, score, label in zip(*(part.tolist() for part in _numbers(result)[:3]), strict=True):
            self._files[label - 1].write(f"{result.frame.name} {score!r} {' '.join(map(repr, box))}\n")

    def __exit__(self, *exception: object) -> None:
        for file in self._files:
            file.finish()


class CocoResults:
    """A list of results, and a file that says which images and classes its numbers are.

    Images have the numbers that their names are, as in COCO, where all are images with such names; else 1, 2, ...
    """

    def __init__(self, folder: OutFolder, sources: Sequence[Source], classes: Sequence[str]) -> None:
        self._paths = [folder.file(name) for name in (RESULTS, ANNOTATIONS)]
        self._categories = category_ids(classes)
        names = [source.name for source in sources]
        only_images = all(source.kind == "image" for source in sources)
        self._numbers = dict(zip(names, image_ids(names), strict=True)) if only_images else {}
        contents = dataset(classes, {"description": "images that ssd detect looked at"})
        del contents["images"]
        self._head = json.dumps(contents, ensure_ascii=False)[:-1] + ', "images": '
        self._count = 0

    def __enter__(self) -> Self:
        self._results = JsonListFile(self._paths[0])
        self._images = JsonListFile(self._paths[1], self._head, "}")
        return self

    def add(self, result: Result) -> None:
        self._count += 1
        frame = result.frame
        number = self._numbers.get(frame.name, self._count)
        height, width = frame.image.shape[:2]
        name = Path(frame.source.address).name if frame.number is None else f"{frame.name}.jpg"
        self._images.add({"id": number, "file_name": name, "width": width, "height": height})
        for entry in result_entries(_numbers(result), number, self._categories):
            self._results.add(entry)

    def __exit__(self, *exception: object) -> None:
        self._results.finish()
        self._images.finish()


def _numbers(result: Result) -> Found:
    found = result.found
    return Found(found.boxes.astype(np.float64), found.scores.astype(np.float64), found.labels.astype(np.int64))
