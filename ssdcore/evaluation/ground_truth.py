"""What is to be found in the images of a split, read from its records without TensorFlow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from ssdcore.data.formats.record_files import frames_of
from ssdcore.data.records.manifest import Manifest
from ssdcore.errors import DataError

DIGITS = 3
"""Of boxes in pixels: what the records' float32 shares of an image keep of the numbers in its annotation."""

_SIDES = [f"image/object/bbox/{side}" for side in ("xmin", "ymin", "xmax", "ymax")]
_LABELS, _DIFFICULT, _CROWD = "image/object/bbox/label", "image/object/bbox/difficult", "image/object/is_crowd"
_NAME, _SIZE = "image/filename", ("image/height", "image/width")


class Truth(NamedTuple):
    """An image's objects.

    Attributes:
        name: of the image, without ending.
        size: height and width, px.
        boxes: (N, 4) float64 xyxy, px; the numbers of the annotation, to a thousandth of a pixel.
        labels: (N,) int64, 1..C.
        difficult: (N,) bool, objects that need not be found.
        crowd: (N,) bool, groups; they need not be found either.
    """

    name: str
    size: tuple[int, int]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]

    @property
    def optional(self) -> NDArray[np.bool_]:
        """(N,) bool, objects and groups that count neither way."""
        return self.difficult | self.crowd


class Found(NamedTuple):
    """An image's detections.

    Attributes:
        boxes: (N, 4) float64 xyxy, px.
        scores: (N,) float64.
        labels: (N,) int64, 1..C.
        places: (N,) int64, order among detections of equal scores in all images; None: the order of arrival.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    places: NDArray[np.int64] | None = None


def read_truths(folder: Path, split: str) -> list[Truth]:
    """The objects of all images of a split of converted data, in the order of the records.

    Raises:
        DataError: folder, split or a shard is missing, damaged or empty.
    """
    entry = Manifest.load(folder).split(split)
    truths = [truth for shard in entry.shards for truth in _read_shard(folder / shard)]
    if len(truths) != entry.images:
        raise DataError(
            f"the split {split!r} of {folder.absolute()} is damaged: its shards hold {len(truths)} images, "
            f"its manifest says {entry.images}; convert the data again"
        )
    if not truths:
        raise DataError(f"the split {split!r} of {folder.absolute()} holds no images")
    return truths


def _read_shard(path: Path) -> Iterator[Truth]:
    if not path.is_file():
        raise DataError(f"{path.absolute()} is missing; convert the data again")
    frames, problem = frames_of(path)
    if problem:
        raise DataError(f"{path.absolute()} is damaged: {problem}; convert the data again")
    with path.open("rb") as file:
        for number, (start, length) in enumerate(frames, start=1):
            file.seek(start)
            try:
                yield _truth(file.read(length))
            except (DecodeError, KeyError, IndexError, ValueError):
                raise DataError(
                    f"{path.absolute()} is damaged: its record {number} is no record of an image; "
                    "convert the data again"
                ) from None


def _truth(content: bytes) -> Truth:
    features = {entry.key: entry.value for entry in _Example.FromString(content).features.feature}
    height, width = (int(_integers(features, key)[0]) for key in _SIZE)
    shares = np.array([features[key].float_list.value for key in _SIDES], np.float64).T
    labels = _integers(features, _LABELS)
    flags = [_integers(features, key) > 0 for key in (_DIFFICULT, _CROWD)]
    difficult, crowd = (flag if len(flag) == len(labels) else np.zeros(len(labels), bool) for flag in flags)
    real = labels > 0
    boxes = (shares * [width, height, width, height]).round(DIGITS)
    name = features[_NAME].bytes_list.value[0].decode(errors="backslashreplace") if _NAME in features else ""
    return Truth(name, (height, width), boxes[real], labels[real], difficult[real], crowd[real])


def _integers(features: dict[str, Any], key: str) -> NDArray[np.int64]:
    return np.array(features[key].int64_list.value if key in features else (), np.int64)


def _fields(*fields: tuple[str, str, bool]) -> list[dict[str, Any]]:
    """Fields numbered from 1 on: name, type, whether it is repeated."""
    return [
        {
            "name": name,
            "number": number,
            "label": "LABEL_REPEATED" if repeated else "LABEL_OPTIONAL",
            **({"type": kind} if kind.startswith("TYPE_") else {"type": "TYPE_MESSAGE", "typeName": kind}),
        }
        for number, (name, kind, repeated) in enumerate(fields, start=1)
    ]


def _example_message() -> Any:
    """The class of `tf.train.Example`, whose map of features is a list of entries."""
    lists = {"BytesList": "TYPE_BYTES", "FloatList": "TYPE_FLOAT", "Int64List": "TYPE_INT64"}
    messages = {name: _fields(("value", kind, True)) for name, kind in lists.items()}
    kinds = [("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")]
    messages["Feature"] = _fields(*((name, f".ssdcore_example.{kind}", False) for name, kind in kinds))
    messages["Entry"] = _fields(("key", "TYPE_STRING", False), ("value", ".ssdcore_example.Feature", False))
    messages["Features"] = _fields(("feature", ".ssdcore_example.Entry", True))
    messages["Example"] = _fields(("features", ".ssdcore_example.Features", False))
    file = {
        "name": "ssdcore/example.proto",
        "package": "ssdcore_example",
        "syntax": "proto2",
        "messageType": [{"name": name, "field": fields} for name, fields in messages.items()],
    }
    pool = descriptor_pool.DescriptorPool()
    pool.Add(json_format.ParseDict(file, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ssdcore_example.Example"))


_Example = _example_message()


def unique_names(truths: Sequence[Truth]) -> dict[str, int]:
    """The place of each image by its name.

    Raises:
        DataError: two images have the same name, or one has none.
    """
    places = {truth.name: place for place, truth in enumerate(truths)}
    if len(places) < len(truths) or "" in places:
        raise DataError(
            "images of the split have equal names or none, and results are told apart by them; convert the data again"
        )
    return places
