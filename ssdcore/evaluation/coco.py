"""COCO's average precision and recall, by `pycocotools`, the official program."""

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ssdcore.evaluation.coco_ids import category_ids, image_ids
from ssdcore.evaluation.ground_truth import Found, Truth

NUMBERS = (
    *("AP", "AP50", "AP75", "AP small", "AP medium", "AP large"),
    *("AR 1", "AR 10", "AR 100", "AR small", "AR medium", "AR large"),
)
"""The twelve numbers, in the order in which `pycocotools` prints them."""

DIGITS = 3
"""Of widths and heights of objects, which are differences of sides that have as many."""


class CocoScores:
    """Gathers images one by one, then has them scored; all detections stay in memory."""

    def __init__(self, classes: Sequence[str], names: Sequence[str]) -> None:
        """Begins with no image.

        Args:
            classes: names of classes 1..C.
            names: of the images, in the order in which they will be added.
        """
        self._categories = category_ids(classes)
        self._numbers = image_ids(names)
        self._truth = dataset(classes, {})
        self._found: list[dict[str, Any]] = []

    def add(self, truth: Truth, found: Found) -> None:
        """Adds one image."""
        number, first = self._numbers[len(self._truth["images"])], len(self._truth["annotations"]) + 1
        self._truth["images"].append(image_entry(truth, number))
        self._truth["annotations"] += object_entries(truth, number, self._categories, first)
        for entry in result_entries(found, number, self._categories):
            _, _, width, height = entry["bbox"]
            self._found.append({**entry, "id": len(self._found) + 1, "area": width * height, "iscrowd": 0})

    def result(self) -> tuple[dict[str, float | None], list[float | None]]:
        """The twelve numbers by name, and AP of classes 1..C; None where there are no objects."""
        with redirect_stdout(StringIO()):
            truth, found = _indexed(self._truth), _indexed({**self._truth, "annotations": self._found})
            scores = COCOeval(truth, found, "bbox")
            scores.evaluate()
            scores.accumulate()
            scores.summarize()
        precisions = scores.eval["precision"][..., 0, 2]  # (IoU, recall, class) at all sizes, 100 detections
        by_class = [_known(precisions[..., place]) for place in range(len(self._categories))]
        twelve = {name: None if value < 0 else float(value) for name, value in zip(NUMBERS, scores.stats, strict=True)}
        return twelve, by_class


def _indexed(contents: Mapping[str, Any]) -> Any:
    coco = COCO()
    coco.dataset = contents
    coco.createIndex()
    return coco


def _known(values: Any) -> float | None:
    known = values[values > -1]
    return float(np.mean(known)) if known.size else None


def dataset(classes: Sequence[str], info: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of a file of annotations, still without images."""
    categories = [
        {"id": number, "name": name, "supercategory": "none"}
        for number, name in zip(category_ids(classes), classes, strict=True)
    ]
    return {"info": dict(info), "licenses": [], "images": [], "annotations": [], "categories": categories}


def image_entry(truth: Truth, number: int) -> dict[str, Any]:
    """An image in a file of annotations."""
    height, width = truth.size
    return {"id": number, "file_name": f"{truth.name}.jpg", "width": width, "height": height}


def object_entries(truth: Truth, number: int, categories: Sequence[int], first: int) -> list[dict[str, Any]]:
    """An image's objects in a file of annotations, numbered from `first` on.

    `pycocotools` knows objects that need not be found as crowds only; `ignore` tells difficult ones from them.
    """
    entries = []
    for offset, (box, label, difficult, crowd) in enumerate(zip(*truth[2:], strict=True)):
        left, top, right, bottom = box.tolist()
        width, height = round(right - left, DIGITS), round(bottom - top, DIGITS)
        entries.append(
            {
                "id": first + offset,
                "image_id": number,
                "category_id": categories[label - 1],
                "bbox": [left, top, width, height],
                "area": width * height,
                "iscrowd": int(difficult or crowd),
                "ignore": int(difficult),
            }
        )
    return entries


def result_entries(found: Found, number: int, categories: Sequence[int]) -> list[dict[str, Any]]:
    """An image's detections in a file of results."""
    sides = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], axis=1)
    return [
        {"image_id": number, "category_id": categories[label - 1], "bbox": box, "score": score}
        for box, label, score in zip(sides.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    ]
