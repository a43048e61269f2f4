"""Reads detections of any detector from files in the formats of Pascal VOC and COCO."""

import json
import math
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ssdcore.data.formats.image_files import stem
from ssdcore.data.formats.values import AnnotationError, number, shown
from ssdcore.errors import DataError, did_you_mean
from ssdcore.evaluation.coco_ids import category_ids, image_ids
from ssdcore.evaluation.ground_truth import Found, Truth, unique_names
from ssdcore.evaluation.write_results import RESULTS, voc_file_name

VOC_FILES = "comp[0-9]_det_*_*.txt"
_SHOWN = 3  # faults in one message


class Results:
    """Detections of many images, as compact as arrays are."""

    def __init__(self, truths: Sequence[Truth], classes: Sequence[str]) -> None:
        """Begins with none, for the images and classes of a split."""
        self.places = unique_names(truths)
        self.classes = tuple(classes)
        self._whole = {"image": array("q"), "label": array("q")}
        self._numbers = array("d")

    def append(self, image: int, label: int, score: float, box: Sequence[float]) -> None:
        """Adds a detection of class `label` with its xyxy box, px, in the image at a place of the split.

        Raises:
            AnnotationError: right is left of left, or bottom above top.
        """
        left, top, right, bottom = box
        if right < left or bottom < top:
            raise AnnotationError(f"the box {left:g} {top:g} {right:g} {bottom:g} is not xmin ymin xmax ymax")
        self._whole["image"].append(image)
        self._whole["label"].append(label)
        self._numbers.extend((score, *box))

    def by_image(self) -> Iterator[Found]:
        """The detections in each image of the split in turn, in the order in which they were added."""
        images, labels = (np.frombuffer(part, np.int64) for part in self._whole.values())
        numbers = np.frombuffer(self._numbers, np.float64).reshape(-1, 5)
        order = images.argsort(kind="stable")
        bounds = np.searchsorted(images[order], np.arange(len(self.places) + 1))
        for first, end in pairwise(bounds):
            rows = order[first:end]
            yield Found(numbers[rows, 1:], numbers[rows, 0], labels[rows], rows)


def is_results(source: Path) -> bool:
    """Whether this is a file, or a folder, of detections, by its name and contents' names."""
    if source.is_dir():
        return (source / RESULTS).is_file() or any(source.glob(VOC_FILES))
    return source.suffix in (".json", ".txt")


def read_results(
    source: Path, truths: Sequence[Truth], classes: Sequence[str], annotations: Path | None = None
) -> Results:
    """Detections in the images of a split.

    Args:
        source: COCO's file of results, a VOC file of one class, or a folder of such.
        truths: all images of the split.
        classes: names of classes 1..C.
        annotations: COCO's file of annotations that says which images and classes the numbers in COCO's
            results are; None: those that `ResultFiles` gives.

    Raises:
        DataError: a file is missing or damaged, or names other images or classes; the first faulty lines are named.
    """
    results = Results(truths, classes)
    if source.is_dir():
        files = sorted(source.glob(VOC_FILES))
        if not files:
            return read_results(source / RESULTS, truths, classes, annotations)
        labels = _labels(files, classes)
        faults = [fault for label, file in labels.items() for fault in _read_voc(file, label, results)]
    elif source.suffix == ".json":
        faults = list(_read_coco(source, results, annotations))
    else:
        faults = list(_read_voc(source, _label(source, classes), results))
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise DataError(f"detections cannot be read: {'; '.join(faults[:_SHOWN])}{more}")
    return results


def _labels(files: Sequence[Path], classes: Sequence[str]) -> dict[int, Path]:
    """The file of each class that has one."""
    found: dict[int, Path] = {}
    for file in files:
        other = found.setdefault(_label(file, classes), file)
        if other != file:
            raise DataError(f"{other.absolute()} and {file.name} are of the same class; leave one split's files there")
    return found


def _label(file: Path, classes: Sequence[str]) -> int:
    """The class that a VOC file is of: the longest name that its own ends in."""
    ends = {voc_file_name("", name).removeprefix("comp4_det_"): place for place, name in enumerate(classes, start=1)}
    known = [end for end in ends if file.name.endswith(end)]
    if known:
        return ends[max(known, key=len)]
    name = re.sub(r"^comp\d_det_[^_]*_", "", file.stem)
    raise DataError(f"{file.absolute()} is of no class of the data: {name!r}; {did_you_mean(name, classes)}")


def _read_voc(file: Path, label: int, results: Results) -> Iterator[str]:
    """Reads lines `image score xmin ymin xmax ymax`; gives what is wrong with some."""
    for place, line in enumerate(_text(file).splitlines(), start=1):
        try:
            if line.strip():
                name, *rest = line.rsplit(maxsplit=5)
                if len(rest) != 5:
                    raise AnnotationError(f"wanted 'image score xmin ymin xmax ymax', found {shown(line)}")
                score, *box = _numbers(rest)
                results.append(_image(name, results.places), label, score, box)
        except AnnotationError as error:
            yield f"{file.absolute()}, line {place}: {error}"


def _numbers(texts: Sequence[str]) -> list[float]:
    """As `number` reads each; files have millions, nearly all of them sound."""
    try:
        found = list(map(float, texts))
        if math.isfinite(sum(found)) and not any("_" in text for text in texts):
            return found
    except ValueError:
        pass
    return list(map(number, texts))


def _image(name: str, places: Mapping[str, int]) -> int:
    place = places.get(name, places.get(stem(name)))
    if place is None:
        raise AnnotationError(f"the split has no image {shown(name)}")
    return place


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file.absolute()} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot read {file.absolute()}: {error.strerror}") from None


def _read_coco(file: Path, results: Results, annotations: Path | None) -> Iterator[str]:
    """Reads COCO's results; gives what is wrong with some."""
    images, labels = _ids_of(annotations, results) if annotations else _our_ids(results)
    entries = _json(file)
    if not isinstance(entries, list):
        raise DataError(f"{file.absolute()} holds no list of results, as COCO's file of detections does")
    for place, entry in enumerate(entries, start=1):
        try:
            if not isinstance(entry, dict):
                raise AnnotationError(f"it is no table of keys and values, but {shown(entry)}")
            image, label = _known(entry, "image_id", images), _known(entry, "category_id", labels)
            box = entry.get("bbox")
            if not isinstance(box, list) or len(box) != 4:
                raise AnnotationError("it has no bbox of four numbers")
            left, top, width, height = map(number, box)
            results.append(image, label, number(entry.get("score")), (left, top, left + width, top + height))
        except AnnotationError as error:
            yield f"{file.absolute()}, result {place}: {error}"


def _known(entry: Mapping[str, Any], key: str, known: Mapping[Any, int]) -> int:
    value = entry.get(key)
    if not isinstance(value, int | str) or value not in known:
        raise AnnotationError(f"there is no {key} {shown(value)}; say with --annotations what the numbers are")
    return known[value]


def _our_ids(results: Results) -> tuple[dict[Any, int], dict[Any, int]]:
    """Place of each image and number of each class by COCO's numbers for them."""
    categories = category_ids(results.classes)
    images = image_ids(list(results.places))
    return (
        {number: place for place, number in enumerate(images)},
        {number: label for label, number in enumerate(categories, start=1)},
    )


def _ids_of(file: Path, results: Results) -> tuple[dict[Any, int], dict[Any, int]]:
    """As `_our_ids`, by a file of annotations; images and classes that the split has not are left out."""
    contents = _json(file)
    labels = {name: label for label, name in enumerate(results.classes, start=1)}
    try:
        names = {item["id"]: item["file_name"] for item in contents["images"]}
        categories = {item["id"]: item["name"].strip() for item in contents["categories"]}
        images = {key: results.places.get(stem(name)) for key, name in names.items()}
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"{file.absolute()} is no file of COCO's annotations, with images and categories") from None
    return (
        {key: place for key, place in images.items() if place is not None},
        {key: labels[name] for key, name in categories.items() if name in labels},
    )


def _json(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.absolute()} is no JSON: {error}; write it again, it may be cut off") from None
