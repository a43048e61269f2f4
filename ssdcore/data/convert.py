"""Turns annotated pictures into sharded TFRecords with a manifest."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ssdcore.class_names import check_class_names
from ssdcore.data.example import Annotation, Example
from ssdcore.data.manifest import Manifest, Split
from ssdcore.data.output import require_unused
from ssdcore.data.records import decode, serialize
from ssdcore.data.voc import read_voc, voc_splits
from ssdcore.errors import DataError, did_you_mean

PICTURES_PER_SHARD = 500
OnPicture = Callable[[str, int, int], None]
"""Called with split, pictures done and pictures in all, after each picture."""


def convert_voc(
    source: Path,
    out: Path,
    classes: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    on_picture: OnPicture = lambda split, done, total: None,
) -> Manifest:
    """Converts a VOC folder. `out` appears under its name only when it is complete.

    Args:
        source: folder with Annotations, JPEGImages and ImageSets/Main.
        out: folder to make; must not exist, or be empty.
        classes: names of classes 1..C in order; None collects them from the data, sorted.
        splits: which of the folder's splits; None takes all.
        on_picture: progress.

    Raises:
        DataError: something is missing, unreadable, or of a class that is not in `classes`.
        ParamError: `classes` are not names that differ.
    """
    require_unused(out)
    out = out.resolve()
    examples = _read_splits(source, splits)
    names = check_class_names(classes) if classes is not None else _collect_classes(examples)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        manifest = _write_splits(examples, names, partial, on_picture)
        manifest.save(partial)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _read_splits(source: Path, wanted: Sequence[str] | None) -> dict[str, list[Example]]:
    found = voc_splits(source)
    for name in wanted or ():
        if name not in found:
            raise DataError(f"{source.absolute()} has no split {name!r}; {did_you_mean(name, found)}")
    return {name: read_voc(source, found[name]) for name in wanted or found}


def _collect_classes(splits: Mapping[str, Iterable[Example]]) -> tuple[str, ...]:
    names = {item.name for examples in splits.values() for example in examples for item in example.objects}
    if not names:
        raise DataError("the annotations hold no objects, so there are no classes to learn; check the folder")
    return tuple(sorted(names))


def _write_splits(
    splits: Mapping[str, Sequence[Example]], classes: tuple[str, ...], out: Path, on_picture: OnPicture
) -> Manifest:
    done: dict[str, Split] = {}
    dropped: dict[str, None] = {}
    for name, examples in splits.items():
        shards, objects = [], 0
        count = max(1, -(-len(examples) // PICTURES_PER_SHARD))
        for index in range(count):
            shard = f"{name}-{index:05d}-of-{count:05d}.tfrecord"
            with tf.io.TFRecordWriter(str(out / shard)) as writer:
                for position in range(index, len(examples), count):
                    record, kept, faults = _to_record(examples[position], classes)
                    writer.write(record)
                    objects += kept
                    dropped |= dict.fromkeys(faults)
                    on_picture(name, position // count + 1, len(examples))
            shards.append(shard)
        sizes = tuple((out / shard).stat().st_size for shard in shards)
        done[name] = Split(shards=tuple(shards), sizes=sizes, images=len(examples), objects=objects)
    return Manifest(classes=classes, splits=done, dropped=tuple(dropped))


def _to_record(example: Example, classes: Sequence[str]) -> tuple[bytes, int, list[str]]:
    """The serialized picture, the number of its boxes, and a line for each box left out."""
    encoded, size = _read_picture(example.picture)
    labels = [_class_id(item, example, classes) for item in example.objects]
    boxes = _normalise([item.box for item in example.objects], size)
    usable = np.logical_and(boxes[:, 2] > boxes[:, 0], boxes[:, 3] > boxes[:, 1])
    faults = [
        f"{example.source.name}: object {number + 1} ({item.name}): no area inside the picture, box {item.box}"
        for number, item in enumerate(example.objects)
        if not usable[number]
    ]
    kept = [(label, item) for label, item, ok in zip(labels, example.objects, usable, strict=True) if ok]
    record = serialize(
        encoded,
        example.name,
        size,
        boxes[usable],
        labels=[label for label, _ in kept],
        texts=[item.name for _, item in kept],
        difficult=[item.difficult for _, item in kept],
        truncated=[item.truncated for _, item in kept],
    )
    return record, len(kept), faults


def _read_picture(path: Path) -> tuple[bytes, tuple[int, int]]:
    """A picture's bytes, and its height and width as training will decode it."""
    encoded = path.read_bytes()
    if not encoded.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        raise DataError(f"{path.absolute()} is neither a JPEG nor a PNG picture; convert or replace it")
    try:
        height, width, _ = decode(encoded).shape
    except tf.errors.InvalidArgumentError:
        raise DataError(f"{path.absolute()} is not a readable picture; replace it or take it off its list") from None
    return encoded, (height, width)


def _class_id(item: Annotation, example: Example, classes: Sequence[str]) -> int:
    if item.name not in classes:
        raise DataError(
            f"{example.source.absolute()}: unknown class {item.name!r}; {did_you_mean(item.name, classes)}; "
            "correct the annotation, or add the class to --classes"
        )
    return classes.index(item.name) + 1


def _normalise(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes xyxy in px to (N, 4) float32, normalised and cut to the picture."""
    height, width = size
    pixels = np.array(boxes, np.float32).reshape(-1, 4)
    return (pixels / np.array([width, height, width, height], np.float32)).clip(0, 1)
