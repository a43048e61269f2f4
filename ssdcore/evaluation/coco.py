"""COCO's file formats, and its average precision and recall by `pycocotools`, the official program."""

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ssdcore.data.records.ground_truth import DIGITS, GroundTruth
from ssdcore.detection.detections import Detections
from ssdcore.evaluation.voc import mean
from ssdcore.params.class_names import COCO as COCO_CLASSES

NUMBERS = (
    *("AP", "AP50", "AP75", "AP small", "AP medium", "AP large"),
    *("AR 1", "AR 10", "AR 100", "AR small", "AR medium", "AR large"),
)
"""The twelve numbers, in the order in which `pycocotools` prints them."""

_COCO_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
_MAX_DIGITS = 15  # exact in float64, too


class CocoScores:
    """Collects images one by one, then scores them; all detections stay in memory."""

    def __init__(self, classes: Sequence[str], names: Sequence[str]) -> None:
        """Starts without images; see `Tally` for the arguments."""
        self._categories = category_ids(classes)
        self._ids = iter(image_ids(names))
        self._truth = dataset(classes, {})
        self._results: list[dict[str, Any]] = []

    def add(self, truth: GroundTruth, detections: Detections) -> None:
        """Adds one image."""
        image_id = next(self._ids)
        add_image(self._truth, truth, image_id, self._categories)
        for entry in result_entries(detections, image_id, self._categories):
            *_, width, height = entry["bbox"]
            self._results.append({**entry, "id": len(self._results) + 1, "area": width * height, "iscrowd": 0})

    def result(self) -> tuple[dict[str, float | None], list[float | None]]:
        """The twelve numbers by name, and AP of classes 1..C; None where there are no objects."""
        with redirect_stdout(StringIO()):
            truth, results = _indexed(self._truth), _indexed({**self._truth, "annotations": self._results})
            scores = COCOeval(truth, results, "bbox")
            scores.evaluate()
            scores.accumulate()
            scores.summarize()
        precisions = np.moveaxis(scores.eval["precision"][..., 0, 2], 2, 0)  # class first; all sizes, 100 detections
        by_class = [mean(one[one > -1].tolist()) for one in precisions]  # -1: unknown
        twelve = {name: None if value < 0 else float(value) for name, value in zip(NUMBERS, scores.stats, strict=True)}
        return twelve, by_class


def _indexed(contents: Mapping[str, Any]) -> Any:
    coco = COCO()
    coco.dataset = contents
    coco.createIndex()
    return coco


def image_ids(names: Sequence[str]) -> list[int]:
    """The ids of images: their names where all are different numbers, as in COCO and VOC 2007; else 1, 2, ..."""
    numbers = [int(name) for name in names if name.isascii() and name.isdecimal() and len(name) <= _MAX_DIGITS]
    are_ids = len(set(numbers)) == len(names)
    return numbers if are_ids else list(range(1, len(names) + 1))


def category_ids(classes: Sequence[str]) -> list[int]:
    """1..C; for COCO's own classes in their order the 80 of its 90 ids that are in use."""
    if tuple(classes) == COCO_CLASSES:
        return [number for number in range(1, 91) if number not in _COCO_GAPS]
    return list(range(1, len(classes) + 1))


def dataset(classes: Sequence[str], info: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of a file of annotations, without images."""
    categories = [
        {"id": number, "name": name, "supercategory": "none"}
        for number, name in zip(category_ids(classes), classes, strict=True)
    ]
    return {"info": dict(info), "licenses": [], "images": [], "annotations": [], "categories": categories}


def add_image(contents: dict[str, Any], truth: GroundTruth, image_id: int, categories: Sequence[int]) -> None:
    """Adds an image and its objects to the contents of a file of annotations, a `dataset`.

    `pycocotools` ignores crowds only, so difficult objects are marked as such; `ignore` is 1 for difficult ones.
    """
    height, width = truth.size
    contents["images"].append({"id": image_id, "file_name": f"{truth.name}.jpg", "width": width, "height": height})
    columns = truth.boxes.tolist(), truth.labels, truth.difficult, truth.crowd
    for (left, top, right, bottom), label, difficult, crowd in zip(*columns, strict=True):
        width, height = round(right - left, DIGITS), round(bottom - top, DIGITS)
        contents["annotations"].append(
            {
                "id": len(contents["annotations"]) + 1,
                "image_id": image_id,
                "category_id": categories[label - 1],
                "bbox": [left, top, width, height],
                "area": width * height,
                "iscrowd": int(difficult or crowd),
                "ignore": int(difficult),
            }
        )


def result_entries(detections: Detections, image_id: int, categories: Sequence[int]) -> list[dict[str, Any]]:
    """An image's detections in a file of results."""
    boxes = detections.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    columns = boxes.tolist(), detections.labels.tolist(), detections.scores.tolist()
    return [
        {"image_id": image_id, "category_id": categories[label - 1], "bbox": box, "score": score}
        for box, label, score in zip(*columns, strict=True)
    ]
