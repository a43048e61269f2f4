"""Readers of annotation formats: Pascal VOC, COCO, YOLO, CSV tables and TFRecords.

`read_labelled` detects the format. Each reader leaves out what it cannot read and reports it as an `Issue`;
boxes are as the files state them, and images are located, but not opened.
"""

from collections.abc import Callable
from pathlib import Path

from ssdcore.data.annotations import LabelledSet
from ssdcore.data.formats import coco, table, tfrecord, voc, yolo
from ssdcore.data.formats.paths import files_like, is_dir, is_file
from ssdcore.errors import DataError

__all__ = ["read_labelled"]

Reader = Callable[[Path, Path | None], LabelledSet]

_KNOWN = "Pascal VOC, COCO .json, YOLO data.yaml, .csv, .tfrecord or .record"
_BY_ENDING: dict[str, Reader] = {
    ".json": coco.read_coco,
    ".yaml": yolo.read_yolo,
    ".yml": yolo.read_yolo,
    ".csv": table.read_tables,
}


def read_labelled(source: Path, images: Path | None = None) -> LabelledSet:
    """Reads labelled images in any known format.

    Args:
        source: a folder, or a file of annotations.
        images: the folder of the images, if it is not near the annotations.

    Raises:
        DataError: nothing can be read.
    """
    if not is_dir(source) and not is_file(source):
        raise DataError(f"there is no {source.absolute()}; give a folder or file of annotations: {_KNOWN}")
    if images is not None and not is_dir(images):
        raise DataError(f"there is no folder {images.absolute()}; give the folder of the images")
    reader = _reader_of_file(source) if is_file(source) else _reader_of_folder(source, images)
    if reader is None:
        raise DataError(f"{source.absolute()} holds no annotations in a known format{_hint(source)}; give {_KNOWN}")
    found = reader(source, images)
    if not found.issues and not any(found.splits.values()):
        raise DataError(f"{source.absolute()} was read as {found.format}, but names no images; give one that does")
    return found


def _reader_of_file(source: Path) -> Reader | None:
    if tfrecord.FILE_NAME.search(source.name):
        return tfrecord.read_tfrecords
    return _BY_ENDING.get(source.suffix.lower())


def _reader_of_folder(source: Path, images: Path | None) -> Reader | None:
    """The first reader that finds its files; formats with unmistakable file names come first."""
    readers: tuple[tuple[Callable[[], object], Reader], ...] = (
        (lambda: voc.find_years(source, images), voc.read_voc),
        (lambda: files_like(source, "data.y*ml"), yolo.read_yolo),
        (lambda: tfrecord.find_records(source), tfrecord.read_tfrecords),
        (lambda: coco.find_jsons(source, coco.USUAL_LAYOUTS), coco.read_coco),
        (lambda: table.find_tables(source), table.read_tables),
        (
            lambda: yolo.find_yaml(source) or all((source / name).is_dir() for name in ("images", "labels")),
            yolo.read_yolo,
        ),
        (lambda: coco.find_jsons(source), coco.read_coco),
        (lambda: files_like(source, "*.xml"), voc.read_voc),
    )
    return next((reader for finds, reader in readers if finds()), None)


def _hint(source: Path) -> str:
    if not is_dir(source):
        return ""
    if (source / "Annotations").is_dir():
        return ": it has Annotations, but no JPEGImages; give the folder of the images"
    folders = sorted(source.glob("*/"))[:50]
    near = next((folder for folder in folders if _reader_of_folder(folder, None)), None)
    return f"; did you mean {near}?" if near else ""
