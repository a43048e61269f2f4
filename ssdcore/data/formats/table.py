"""Reads tables of boxes: CSV with the columns filename,width,height,class,xmin,ymin,xmax,ymax."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from ssdcore.data.example import Annotation, Example, Fault, LabelledSet, PictureSource
from ssdcore.data.formats.files import (
    AnnotationError,
    Pictures,
    check_object_count,
    files_like,
    inside,
    number,
    picture_size,
    split_name,
    stem,
)
from ssdcore.data.formats.names import name_uniquely
from ssdcore.errors import DataError, did_you_mean

_MAX_BYTES = 2**30
_SIDES = ("xmin", "ymin", "xmax", "ymax")

Row = Mapping[str, str]


def find_tables(source: Path) -> dict[str, Path]:
    """The table of each split: `source` itself, or those in the folder."""
    files = [source] if source.is_file() else files_like(source, "*.csv")
    return {split_name(file, alone=len(files) == 1): file for file in files}


def read_tables(source: Path, pictures: Path | None = None) -> LabelledSet:
    """Reads a .csv file, or a folder of them.

    Raises:
        DataError: a file lacks a column, or is no table of UTF-8 text.
    """
    faults: list[Fault] = []
    splits = {}
    for split, file in find_tables(source).items():
        near = [file.parent / "images", inside(file.parent, split), inside(file.parent / "images", split)]
        found = Pictures([pictures] if pictures else [file.parent, *near])
        splits[split] = list(_read_table(file, found, faults))
    return LabelledSet(source, "csv", name_uniquely(splits), tuple(faults))


@dataclass
class _Picture:
    """The rows of one picture; `faulty`: one of them could not be read."""

    size: tuple[int, int] | None
    objects: list[Annotation] = field(default_factory=list)
    faulty: bool = False


def _read_table(file: Path, pictures: Pictures, faults: list[Fault]) -> Iterator[Example]:
    for name, rows in _rows_by_picture(file, faults).items():
        if rows.faulty:
            continue
        try:
            check_object_count(len(rows.objects))
            picture = PictureSource(pictures.named(name))
        except AnnotationError as error:
            faults.append(error.fault(file))
        else:
            yield Example(stem(name), picture, file, tuple(rows.objects), rows.size)


def _rows_by_picture(file: Path, faults: list[Fault]) -> dict[str, _Picture]:
    found: dict[str, _Picture] = {}
    for line, row in _rows(file):
        name = row["filename"]
        picture = found.setdefault(name, _Picture(None))
        try:
            _add(picture, row)
        except AnnotationError as error:
            picture.faulty = True
            faults.append(error.fault(file, line))
    return found


def _add(picture: _Picture, row: Row) -> None:
    if not row["filename"]:
        raise AnnotationError("the row names no picture")
    size = picture_size(row.get("height"), row.get("width"))
    if picture.size not in (None, size):
        raise AnnotationError(f"the size {size} differs from {picture.size} in an earlier row of the picture")
    picture.size = size
    if not any(row[key] for key in ("class", *_SIDES)):
        return
    if not row["class"]:
        raise AnnotationError("the row has a box, but no class")
    xmin, ymin, xmax, ymax = (number(row[side]) for side in _SIDES)
    picture.objects.append(Annotation(row["class"], (xmin, ymin, xmax, ymax)))


def _rows(file: Path) -> Iterator[tuple[int, Row]]:
    """The rows that are not blank with their lines, cells that a row lacks being empty."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise DataError(f"{file.absolute()} is above the {_MAX_BYTES} bytes that are read; split it")
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, delimiter=_delimiter(text))
            header = _header(next(reader, []), file)
            for cells in reader:
                row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
                if any(row.values()):
                    yield reader.line_num, dict.fromkeys(header, "") | row
    except UnicodeDecodeError as error:
        raise DataError(f"{file.absolute()} is not UTF-8 text: {error.reason}; save it as UTF-8") from None
    except (csv.Error, OSError) as error:
        raise DataError(f"{file.absolute()} is no table that can be read: {error}") from None


def _delimiter(text: TextIO) -> str:
    start = text.readline(10_000)
    text.seek(0)
    return ";" if start.count(";") > start.count(",") else ","


def _header(cells: list[str], file: Path) -> list[str]:
    names = ["class" if name == "label" else name for name in (cell.strip().lower() for cell in cells[:1000])]
    lacking = [name for name in ("filename", "class", *_SIDES) if name not in names]
    if lacking:
        raise DataError(
            f"{file.absolute()} has no column {', '.join(lacking)} in its first line; "
            f"for {lacking[0]}, {did_you_mean(lacking[0], (name[:40] for name in names[:20]))}"
        )
    return names
