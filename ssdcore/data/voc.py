"""Reads Pascal VOC folders: `Annotations/*.xml`, `JPEGImages/*`, `ImageSets/Main/<split>.txt`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, parse

from ssdcore.data.example import Annotation, Example
from ssdcore.errors import DataError, did_you_mean

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_FOLDERS = ("Annotations", "JPEGImages", "ImageSets/Main")


def voc_splits(root: Path) -> dict[str, tuple[str, ...]]:
    """The picture names of each split, from `ImageSets/Main`.

    VOC's per-class lists, whose lines end in -1, 0 or 1, are left out.

    Raises:
        DataError: `root` is no VOC folder, or has no lists.
    """
    _check_folder(root)
    lists = {path.stem: _lines(path) for path in sorted((root / "ImageSets/Main").glob("*.txt"))}
    splits = {
        name: tuple(lines)
        for name, lines in lists.items()
        if lines and not all(re.fullmatch(r"\S.*\s(-1|0|1)", line) for line in lines)
    }
    if not splits:
        raise DataError(
            f"{(root / 'ImageSets/Main').absolute()} has no lists of picture names; "
            "write one name a line into trainval.txt and test.txt there"
        )
    return splits


def read_voc(root: Path, names: Sequence[str]) -> list[Example]:
    """The examples of a VOC folder that have the given names, in that order.

    Raises:
        DataError: a picture or annotation is missing or unreadable; names the file.
    """
    return [_read_example(root, name) for name in names]


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"there is no folder {root.absolute()}; give the folder that holds {', '.join(_FOLDERS)}")
    missing = [folder for folder in _FOLDERS if not (root / folder).is_dir()]
    if missing:
        inside = sorted(path.parent for path in root.glob("*/Annotations"))
        hint = f"; did you mean {inside[0]}?" if inside else ""
        raise DataError(f"{root.absolute()} is no VOC folder: it has no {', '.join(missing)}{hint}")


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path.absolute()} is not UTF-8 text; save it as UTF-8") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read_example(root: Path, name: str) -> Example:
    source = root / "Annotations" / f"{name}.xml"
    return Example(_picture(root, name), source, _read_objects(source))


def _picture(root: Path, name: str) -> Path:
    """The picture beside an annotation; `<filename>` inside the XML is not trusted with paths."""
    folder = root / "JPEGImages"
    found = next((path for end in PICTURE_ENDINGS if (path := folder / (name + end)).is_file()), None)
    if found is None:
        near = did_you_mean(name, (path.stem for path in folder.iterdir()))
        raise DataError(f"no picture {name}.jpg (or .jpeg, .png) in {folder.absolute()}; {near:.100}")
    return found


def _read_objects(source: Path) -> tuple[Annotation, ...]:
    try:
        root = parse(source)
    except FileNotFoundError:
        raise DataError(f"no annotation {source.absolute()}") from None
    except (ParseError, DefusedXmlException) as error:
        raise DataError(f"{source.absolute()} is not usable XML: {error}") from None
    return tuple(_read_object(node, number, source) for number, node in enumerate(root.iter("object"), start=1))


def _read_object(node: Any, number: int, source: Path) -> Annotation:
    try:
        name = node.findtext("name", "").strip()
        xmin, ymin, xmax, ymax = (float(node.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax"))
        difficult, truncated = (bool(int(node.findtext(k) or 0)) for k in ("difficult", "truncated"))
    except (TypeError, ValueError):
        raise DataError(f"{source.absolute()}: object {number} needs a name and a bndbox of four numbers") from None
    if not name:
        raise DataError(f"{source.absolute()}: object {number} has no name")
    return Annotation(name, (xmin, ymin, xmax, ymax), difficult, truncated)
