"""Writes annotations of every format that is text, and tells what was read from them."""

import json
from pathlib import Path

from ssdcore.data.annotations import ISSUE_KINDS, Example, LabelledSet

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
"""The first line of a CSV file."""


def write(path: Path, content: str | bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_voc(root: Path, objects: dict[str, str], lists: dict[str, str] | None = None) -> Path:
    """A VOC folder with the XML of these objects, and these lists or a train list of all."""
    for name, text in objects.items():
        write(root / f"JPEGImages/{name}.jpg")
        write(root / f"Annotations/{name}.xml", f"<annotation>{text}</annotation>")
    for split, text in (lists or {"train": "\n".join(objects)}).items():
        write(root / f"ImageSets/Main/{split}.txt", text)
    return root


def write_coco(path: Path, images: list, annotations: list, categories: list | None = None) -> Path:
    categories = [{"id": 1, "name": "dog"}] if categories is None else categories
    return write(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def write_yolo(root: Path, labels: dict[str, str], yaml: str = "train: images\nnames: [dog, cat]\n") -> Path:
    write(root / "data.yaml", yaml)
    for name, text in labels.items():
        write(root / f"images/{name}.jpg")
        write(root / f"labels/{name}.txt", text)
    return root


def names(found: LabelledSet) -> dict[str, list[str]]:
    return {split: [example.name for example in examples] for split, examples in found.splits.items()}


def only(found: LabelledSet) -> Example:
    assert not found.issues
    (example,) = (example for split in found.splits.values() for example in split)
    return example


def issues(found: LabelledSet) -> list[tuple[str, str, int | None]]:
    assert all(issue.kind in ISSUE_KINDS and "\n" not in str(issue) and len(str(issue)) < 600 for issue in found.issues)
    return [(issue.kind, issue.file.name, issue.object) for issue in found.issues]
