"""Reads tables of boxes: CSV with the columns filename,width,height,class,xmin,ymin,xmax,ymax."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ssdcore.data.annotations import SIDES, Annotation, Example, ImageSource, Issue, LabelledSet
from ssdcore.data.formats.image_files import ImageFinder, name_uniquely, stem
from ssdcore.data.formats.paths import files_like, inside, split_name
from ssdcore.data.formats.values import AnnotationError, check_object_count, image_size, number
from ssdcore.errors import DataError, did_you_mean

_MAX_BYTES = 2**30

Row = Mapping[str, str]


def find_tables(source: Path) -> dict[str, Path]:
    """The table of each split: `source` itself, or those in the folder."""
    files = [source] if source.is_file() else files_like(source, "*.csv")
    return {split_name(file, alone=len(files) == 1): file for file in files}


def read_tables(source: Path, images: Path | None = None) -> LabelledSet:
    """Reads a .csv file, or a folder of them.

    Raises:
        DataError: a file lacks a column, or is not a table of UTF-8 text.
    """
    issues: list[Issue] = []
    splits = {}
    for split, file in find_tables(source).items():
        near = [file.parent / "images", inside(file.parent, split), inside(file.parent / "images", split)]
        finder = ImageFinder([images] if images else [file.parent, *near])
        splits[split] = list(_read_table(file, finder, issues))
    return LabelledSet(source, "csv", name_uniquely(splits), tuple(issues))


@dataclass
class _Image:
    """The rows of one image; `faulty`: at least one of them could not be read."""

    size: tuple[int, int] | None = None
    objects: list[Annotation] = field(default_factory=list)
    faulty: bool = False


def _read_table(file: Path, finder: ImageFinder, issues: list[Issue]) -> Iterator[Example]:
    images: defaultdict[str, _Image] = defaultdict(_Image)
    for line, row in _rows(file):
        image = images[row["filename"]]
        try:
            _add(image, row)
        except AnnotationError as error:
            image.faulty = True
            issues.append(error.issue(file, line))
    for name, image in images.items():
        try:
            if image.faulty:
                continue
            check_object_count(len(image.objects))
            yield Example(stem(name), ImageSource(finder.find(name)), file, tuple(image.objects), image.size)
        except AnnotationError as error:
            issues.append(error.issue(file))


def _add(image: _Image, row: Row) -> None:
    if not row["filename"]:
        raise AnnotationError("the row names no image")
    size = image_size(row.get("height"), row.get("width"))
    if image.size not in (None, size):
        raise AnnotationError(f"the size {size} differs from {image.size} in an earlier row of the image")
    image.size = size
    if not any(row[key] for key in ("class", *SIDES)):
        return
    if not row["class"]:
        raise AnnotationError("the row has a box, but no class")
    xmin, ymin, xmax, ymax = (number(row[side]) for side in SIDES)
    image.objects.append(Annotation(row["class"], (xmin, ymin, xmax, ymax)))


def _rows(file: Path) -> Iterator[tuple[int, Row]]:
    """The rows that are not blank, with their line numbers; missing cells are empty."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise DataError(f"{file.absolute()} is above the {_MAX_BYTES} bytes that are read; split it")
        with file.open(encoding="utf-8-sig", newline="") as text:
            start = text.readline(10_000)
            text.seek(0)
            reader = csv.reader(text, delimiter=";" if start.count(";") > start.count(",") else ",")
            header = _header(next(reader, []), file)
            for cells in reader:
                row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
                if any(row.values()):
                    yield reader.line_num, dict.fromkeys(header, "") | row
    except UnicodeDecodeError as error:
        raise DataError(f"{file.absolute()} is not UTF-8 text: {error.reason}; save it as UTF-8") from None
    except (csv.Error, OSError) as error:
        raise DataError(f"{file.absolute()} is not a readable table: {error}") from None


def _header(cells: list[str], file: Path) -> list[str]:
    names = ["class" if name == "label" else name for name in (cell.strip().lower() for cell in cells[:1000])]
    lacking = [name for name in ("filename", "class", *SIDES) if name not in names]
    if lacking:
        raise DataError(
            f"{file.absolute()} has no column {', '.join(lacking)} in its first line; "
            f"for {lacking[0]}, {did_you_mean(lacking[0], (name[:40] for name in names[:20]))}"
        )
    return names
