"""Reads detections of any detector from files in the formats of Pascal VOC and COCO, and scores them; no TensorFlow."""

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
from ssdcore.data.records.ground_truth import GroundTruth, index_by_name, read_ground_truth
from ssdcore.data.records.manifest import Manifest
from ssdcore.detection.detections import Detections
from ssdcore.errors import DataError, did_you_mean
from ssdcore.evaluation.coco import category_ids, image_ids
from ssdcore.evaluation.scores import Evaluation, Tally
from ssdcore.evaluation.voc import Ints
from ssdcore.evaluation.write_results import RESULTS, voc_file_names
from ssdcore.params import EvalParams

VOC_FILES = "comp[0-9]_det_*_*.txt"
_SHOWN = 3  # issues in one message


def evaluate_files(
    source: Path,
    folder: Path,
    split: str,
    params: EvalParams,
    max_images: int | None = None,
    annotations: Path | None = None,
) -> Evaluation:
    """Scores detections on a split of converted data.

    Args:
        source: files as `read_results` takes them.
        folder: of records, with a manifest.
        split: name of the split.
        params: the metric and its parameters; nothing is left out by score or number.
        max_images: the first so many only.
        annotations: see `read_results`.

    Raises:
        DataError: the data or the files cannot be read, or do not belong together.
    """
    classes, images = Manifest.load(folder).classes, read_ground_truth(folder, split)
    results = read_results(source, images, classes, annotations)
    scored = images[:max_images]
    tally = Tally(classes, [truth.name for truth in scored], params)
    for truth, (detections, order) in zip(scored, results.by_image(), strict=False):
        tally.add(truth, detections, order)
    return tally.evaluation(None)


class Results:
    """Detections in many images, in compact arrays."""

    def __init__(self, images: Sequence[GroundTruth], classes: Sequence[str]) -> None:
        """Starts without detections, for the images and classes of a split."""
        self.index_of = index_by_name(images)
        self.classes = tuple(classes)
        self._images, self._labels, self._numbers = array("q"), array("q"), array("d")

    def append(self, image: int, label: int, score: float, box: Sequence[float]) -> None:
        """Adds a detection of class `label` with its xyxy box, px, in the image of that index in the split.

        Raises:
            AnnotationError: right is left of left, or bottom above top.
        """
        left, top, right, bottom = box
        if right < left or bottom < top:
            raise AnnotationError(f"the box {left:g} {top:g} {right:g} {bottom:g} is not xmin ymin xmax ymax")
        self._images.append(image)
        self._labels.append(label)
        self._numbers.extend((score, *box))

    def by_image(self) -> Iterator[tuple[Detections, Ints]]:
        """The detections in each image of the split in turn, and in which place each was added."""
        images, labels = np.frombuffer(self._images, np.int64), np.frombuffer(self._labels, np.int64)
        numbers = np.frombuffer(self._numbers, np.float64).reshape(-1, 5)
        by_image = images.argsort(kind="stable")
        bounds = np.searchsorted(images[by_image], np.arange(len(self.index_of) + 1))
        for first, end in pairwise(bounds):
            rows = by_image[first:end]
            yield Detections(numbers[rows, 1:], numbers[rows, 0], labels[rows], self.classes), rows


def is_results(source: Path) -> bool:
    """Whether this is a file or a folder of detections, by its name and the names in it."""
    if source.is_dir():
        return (source / RESULTS).is_file() or any(source.glob(VOC_FILES))
    return source.suffix in (".json", ".txt")


def read_results(
    source: Path, images: Sequence[GroundTruth], classes: Sequence[str], annotations: Path | None = None
) -> Results:
    """Detections in the images of a split.

    Args:
        source: COCO's file of results, a VOC file of one class, or a folder of such.
        images: all images of the split.
        classes: names of classes 1..C.
        annotations: COCO's file of annotations, which says which images and classes the ids in COCO's
            results stand for; None: the ids that `write_results` gives.

    Raises:
        DataError: a file is missing or damaged, or names other images or classes; the first issues are listed.
    """
    results = Results(images, classes)
    files = (sorted(source.glob(VOC_FILES)) or [source / RESULTS]) if source.is_dir() else [source]
    is_coco = files[0].suffix == ".json"
    if is_coco:
        issues = list(_read_coco(files[0], results, annotations))
    else:
        issues = [issue for label, file in _labels(files, classes).items() for issue in _read_voc(file, label, results)]
    if issues:
        more = f"; and {len(issues) - _SHOWN} more" if len(issues) > _SHOWN else ""
        reason = "unreadable_coco_results" if is_coco and not annotations else ""
        raise DataError(f"detections cannot be read: {'; '.join(issues[:_SHOWN])}{more}", reason)
    return results


def _labels(files: Sequence[Path], classes: Sequence[str]) -> dict[int, Path]:
    """The file of each class that has one."""
    by_label: dict[int, Path] = {}
    for file in files:
        other = by_label.setdefault(_label(file, classes), file)
        if other != file:
            raise DataError(f"{other.absolute()} and {file.name} are of the same class; keep the files of one split")
    return by_label


def _label(file: Path, classes: Sequence[str]) -> int:
    """The class of a VOC file: of those whose file name it ends in, the one with the longest."""
    ends = {name.removeprefix("comp4_det_"): label for label, name in enumerate(voc_file_names("", classes), start=1)}
    known = [end for end in ends if file.name.endswith(end)]
    if known:
        return ends[max(known, key=len)]
    name = re.sub(r"^comp\d_det_[^_]*_", "", file.stem)
    raise DataError(f"{file.absolute()} is of no class of the data: {name!r}; {did_you_mean(name, classes)}")


def _read_voc(file: Path, label: int, results: Results) -> Iterator[str]:
    """Reads lines `image score xmin ymin xmax ymax`; yields issues."""
    for line_number, line in enumerate(_text(file).splitlines(), start=1):
        try:
            if line.strip():
                name, *rest = line.rsplit(maxsplit=5)
                if len(rest) != 5:
                    raise AnnotationError(f"wanted 'image score xmin ymin xmax ymax', found {shown(line)}")
                score, *box = _numbers(rest)
                results.append(_image(name, results.index_of), label, score, box)
        except AnnotationError as error:
            yield f"{file.absolute()}, line {line_number}: {error}"


def _numbers(texts: Sequence[str]) -> list[float]:
    """As `number` reads each, but fast where all are valid; files have millions."""
    try:
        values = list(map(float, texts))
        if math.isfinite(sum(values)) and not any("_" in text for text in texts):
            return values
    except ValueError:
        pass
    return list(map(number, texts))


def _image(name: str, index_of: Mapping[str, int]) -> int:
    index = index_of.get(name, index_of.get(stem(name)))
    if index is None:
        raise AnnotationError(f"the split has no image {shown(name)}")
    return index


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file.absolute()} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot read {file.absolute()}: {error.strerror}") from None


def _read_coco(file: Path, results: Results, annotations: Path | None) -> Iterator[str]:
    """Reads COCO's results; yields issues."""
    images, labels = _ids_of(annotations, results) if annotations else _our_ids(results)
    entries = _json(file)
    if not isinstance(entries, list):
        raise DataError(f"{file.absolute()} is not a list of results, as COCO's file of detections is")
    for position, entry in enumerate(entries, start=1):
        try:
            if not isinstance(entry, dict):
                raise AnnotationError(f"it is not an object with keys, but {shown(entry)}")
            image, label = _known(entry, "image_id", images), _known(entry, "category_id", labels)
            box = entry.get("bbox")
            if not isinstance(box, list) or len(box) != 4:
                raise AnnotationError("it has no bbox of four numbers")
            left, top, width, height = map(number, box)
            results.append(image, label, number(entry.get("score")), (left, top, left + width, top + height))
        except AnnotationError as error:
            yield f"{file.absolute()}, result {position}: {error}"


def _known(entry: Mapping[str, Any], key: str, known: Mapping[Any, int]) -> int:
    value = entry.get(key)
    if not isinstance(value, int | str) or value not in known:
        raise AnnotationError(f"there is no {key} {shown(value)}")
    return known[value]


def _our_ids(results: Results) -> tuple[dict[Any, int], dict[Any, int]]:
    """Index of each image and label of each class by their ids."""
    images, categories = image_ids(list(results.index_of)), category_ids(results.classes)
    return {key: index for index, key in enumerate(images)}, {key: label for label, key in enumerate(categories, 1)}


def _ids_of(file: Path, results: Results) -> tuple[dict[Any, int], dict[Any, int]]:
    """As `_our_ids`, from a file of annotations; images and classes that are not in the split are left out."""
    contents = _json(file)
    labels = {name: label for label, name in enumerate(results.classes, start=1)}
    try:
        images = {item["id"]: results.index_of.get(stem(item["file_name"])) for item in contents["images"]}
        categories = {item["id"]: labels.get(item["name"].strip()) for item in contents["categories"]}
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"{file.absolute()} is not a file of COCO annotations, with images and categories") from None
    known_images, known_categories = (
        {key: value for key, value in one.items() if value is not None} for one in (images, categories)
    )
    return known_images, known_categories


def _json(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.absolute()} is not valid JSON, perhaps cut off: {error}") from None
