"""The ground truth of a split, read from its records without TensorFlow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssdcore.data.annotations import SIDES
from ssdcore.data.formats.record_files import parse_example
from ssdcore.data.records.manifest import check_count, shard_frames, shard_paths
from ssdcore.errors import DataError

DIGITS = 3
"""Of boxes in pixels: the precision that float32 fractions of the image keep of the annotation's numbers."""

_BOX = "image/object/bbox"
_SIDES = [f"{_BOX}/{side}" for side in SIDES]


@dataclass(frozen=True, eq=False, slots=True)
class GroundTruth:
    """The labelled objects of an image.

    Attributes:
        name: of the image, without extension.
        size: height and width, px.
        boxes: (N, 4) float64 xyxy, px; the numbers of the annotation, to a thousandth of a pixel.
        labels: (N,) int64, 1..C.
        difficult: (N,) bool, objects that need not be detected.
        crowd: (N,) bool, groups; they need not be detected either.
    """

    name: str
    size: tuple[int, int]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """(N,) bool, difficult objects and groups; they count neither as objects nor as background."""
        return self.difficult | self.crowd


def read_ground_truth(folder: Path, split: str) -> list[GroundTruth]:
    """The ground truth of all images of a split of converted data, in the order of the records.

    Raises:
        DataError: folder, split or a shard is missing, damaged or empty.
    """
    found = [one for path in shard_paths(folder, split) for one in _read_shard(path)]
    check_count(folder, split, len(found))
    return found


def index_by_name(images: Sequence[GroundTruth]) -> dict[str, int]:
    """The index of each image by its name.

    Raises:
        DataError: two images have the same name, or one has none.
    """
    indices = {image.name: index for index, image in enumerate(images)}
    if len(indices) < len(images) or "" in indices:
        raise DataError(
            "images of the split have equal names or none, but results are identified by them; convert the data again"
        )
    return indices


def _read_shard(path: Path) -> Iterator[GroundTruth]:
    with path.open("rb") as file:
        for number, (start, length) in enumerate(shard_frames(path), start=1):
            file.seek(start)
            try:
                yield _ground_truth(parse_example(file.read(length)))
            except (KeyError, IndexError, ValueError, AttributeError, TypeError):
                raise DataError(
                    f"{path.absolute()} is damaged: its record {number} is not a record of an image; "
                    "convert the data again"
                ) from None


def _ground_truth(features: Mapping[str, list[Any]]) -> GroundTruth:
    height, width = int(features["image/height"][0]), int(features["image/width"][0])
    fractions = np.array([features[key] for key in _SIDES], np.float64).T
    labels = np.array(features.get(f"{_BOX}/label", ()), np.int64)
    flags = [np.array(features.get(key, ()), np.int64) > 0 for key in (f"{_BOX}/difficult", "image/object/is_crowd")]
    difficult, crowd = (flag if len(flag) == len(labels) else np.zeros(len(labels), bool) for flag in flags)
    labelled = labels > 0
    boxes = (fractions * [width, height, width, height]).round(DIGITS)[labelled]
    name = features.get("image/filename", [b""])[0].decode(errors="backslashreplace")
    return GroundTruth(name, (height, width), boxes, labels[labelled], difficult[labelled], crowd[labelled])
