"""Reads TFRecords of images: those of SSD-Tensorflow and its kin, and of TF's Object Detection API.

Beside them may be a label map: the Object Detection API's `.pbtxt`, or `labels.txt`.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssdcore.data.annotations import SIDES, Annotation, Example, ImageSource, Issue, LabelledSet
from ssdcore.data.formats.image_files import name_uniquely, stem
from ssdcore.data.formats.paths import files_like, read_text
from ssdcore.data.formats.record_files import are_sound, frames_of, parse_example, read_content
from ssdcore.data.formats.values import AnnotationError, check_object_count, flag, image_size, number, shown
from ssdcore.errors import DataError
from ssdcore.params.class_names import PASCAL_VOC, UNLABELLED

FILE_NAME = re.compile(r"\.(tf)?records?(-\d+-of-\d+)?$")

# SSD-Tensorflow numbers shards with three digits, others with `00000-of-00010`; four digits may be a year.
_RUNNING_NUMBER = re.compile(r"[-_](\d{3}|\d{5,}|(?!19|20)\d{4}|\d+-of-\d+.*)$")
_VOC = dict(enumerate(PASCAL_VOC, start=1))
_LABELS = ("image/object/bbox/label", "image/object/class/label")
_TEXTS = ("image/object/bbox/label_text", "image/object/class/text")
_DIFFICULT = ("image/object/bbox/difficult", "image/object/difficult")
_TRUNCATED = ("image/object/bbox/truncated", "image/object/truncated")
_CROWD = ("image/object/is_crowd", "image/object/group_of")
_NAMES = ("image/filename", "image/source_id")
_MAX_MAP_BYTES = 2**20
_ITEM = re.compile(r"\bitem\s*\{([^{}]*)\}")
_ITEM_START = re.compile(r"\bitem\s*\{")
_FIELD = re.compile(r"""\b(id|name|display_name)\s*:\s*(?:(\d{1,9})\b|'([^'\n]*)'|"([^"\n]*)")""")
_NUMBERED = re.compile(r"(\d{1,9})\s*:\s*(\S.*)")
BACKGROUND = ("background", "none", "???", "__background__", "_background_")

Values = list[Any]
Features = Mapping[str, Values]


def find_records(source: Path) -> list[Path]:
    """`source` itself, or the record files of the folder."""
    return [source] if source.is_file() else [file for file in files_like(source, "*") if FILE_NAME.search(file.name)]


def split_of(file: Path) -> str:
    """The split of a record file: its name before the ending and the running number."""
    name = FILE_NAME.sub("", file.name)
    return _RUNNING_NUMBER.sub("", name) or name


@dataclass
class _Classes:
    """`stated`: names by id from a label map beside the records; `seen`: those in the records."""

    stated: Mapping[int, str] | None
    seen: dict[int, str] = field(default_factory=dict)
    unnamed: bool = False
    contradictory: bool = False

    def names(self) -> tuple[str, ...] | None:
        """In order of their ids; None if the records contradict each other, or name none."""
        known = self.stated or (_VOC | self.seen if self.unnamed else self.seen)
        names = [name for key, name in sorted(known.items()) if key > 0 or name.lower() not in BACKGROUND]
        return tuple(dict.fromkeys(names)) if names and not self.contradictory else None


def read_tfrecords(source: Path, images: Path | None = None) -> LabelledSet:
    """Reads a folder of record files, or one of them; they contain their images, and `images` is not used.

    Boxes are in fractions of the image.

    Raises:
        DataError: a label map cannot be used.
    """
    classes = _Classes(read_label_map(source.parent if source.is_file() else source))
    splits: defaultdict[str, list[Example]] = defaultdict(list)
    issues: list[Issue] = []
    for file in find_records(source):
        splits[split_of(file)] += _read_file(file, classes, issues)
    return LabelledSet(source, "tfrecord", name_uniquely(splits), tuple(issues), classes.names())


def _read_file(file: Path, classes: _Classes, issues: list[Issue]) -> Iterator[Example]:
    frames, problem = frames_of(file)
    sound = are_sound(file, frames)
    for position, (offset, length) in enumerate(frames, start=1):
        try:
            with file.open("rb") as data:
                content = read_content(data, offset, length, sound)
            yield _example(content, file, position, offset, classes)
        except AnnotationError as error:
            issues.append(error.issue(file, position))
    if problem:
        issues.append(problem.issue(file, len(frames) + 1))


def _example(content: bytes, file: Path, position: int, offset: int, classes: _Classes) -> Example:
    try:
        features = parse_example(content)
    except ValueError:
        raise AnnotationError("the record is not a tf.train.Example") from None
    encoded = next(iter(features.get("image/encoded", ())), b"")
    if not isinstance(encoded, bytes) or not encoded:
        raise AnnotationError("the record has no image/encoded", "missing image")
    # The image is contiguous in the record, so it can be read without the rest.
    image = ImageSource(file, offset + content.find(encoded), len(encoded))
    size = image_size(*(next(iter(features.get(f"image/{side}", ())), 0) for side in ("height", "width")))
    texts = (_text(value) for key in _NAMES for value in features.get(key, ())[:1])
    name = next(filter(None, map(stem, texts)), "") or f"{FILE_NAME.sub('', file.name)}_{position}"
    return Example(name, image, file, _objects(features, classes), size, normalised=True)


def _text(value: object) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise AnnotationError(f"{value!r:.60} is not UTF-8 text") from None


def _objects(features: Features, classes: _Classes) -> tuple[Annotation, ...]:
    sides = [features.get(f"image/object/bbox/{side}", []) for side in SIDES]
    count = len(sides[0])
    check_object_count(count)
    if any(len(side) != count for side in sides):
        raise AnnotationError(f"it has {', '.join(str(len(side)) for side in sides)} values of {', '.join(SIDES)}")
    labels, texts = _column(features, _LABELS, count), _column(features, _TEXTS, count)
    flags = [_column(features, keys, count) for keys in (_DIFFICULT, _TRUNCATED, *((key,) for key in _CROWD))]
    marks = [[flag(value, "a mark of an object") for value in column] for column in flags]
    has_regions = _LABELS[0] in features
    found = []
    for index in range(count):
        xmin, ymin, xmax, ymax = (number(side[index]) for side in sides)
        name, unlabelled = _class(labels[index], texts[index], classes, has_regions)
        difficult, truncated, crowd, group = (column[index] for column in marks)
        found.append(Annotation(name, (xmin, ymin, xmax, ymax), difficult or unlabelled, truncated, crowd or group))
    return tuple(found)


def _column(features: Features, keys: tuple[str, ...], count: int) -> Values:
    """One value per object; all None if the record has none."""
    key = next((key for key in keys if features.get(key)), keys[0])
    values = features.get(key) or [None] * count
    if len(values) != count:
        raise AnnotationError(f"it has {count} boxes, but {len(values)} values of {key}")
    return values


def _class(label: object, text: object, classes: _Classes, has_regions: bool) -> tuple[str, bool]:
    """A name, and whether the label is beyond the label map: SSD-Tensorflow's mark of an unlabelled region."""
    key = label if isinstance(label, int) else None
    name = "" if text is None else _text(text).strip()
    if has_regions and key is not None and classes.stated and key > max(classes.stated):
        return name or UNLABELLED, True
    if name and key is not None:
        classes.contradictory |= classes.seen.setdefault(key, name) != name
    # In some records the texts are spelt unlike any name of the map; then the number decides.
    if name and (key is None or not classes.stated or key not in classes.stated or name in classes.stated.values()):
        return name, False
    known = classes.stated or _VOC
    if key is None or key not in known:
        raise AnnotationError(
            f"an object has the label {shown(key)} and no text, and no label map names it; "
            "put label_map.pbtxt or labels.txt beside the records"
        )
    classes.unnamed = True
    return known[key], False


def read_label_map(folder: Path) -> dict[int, str] | None:
    """Names by id from `label_map.pbtxt`, else the only `*label_map.pbtxt`, else `labels.txt`; None if there is none.

    Raises:
        DataError: it cannot be read, or names no class.
    """
    files = files_like(folder, "label_map.pbtxt") or files_like(folder, "*label_map.pbtxt")
    if len(files) > 1:
        raise DataError(f"{folder.absolute()} has several label maps; name the right one label_map.pbtxt")
    files = files or files_like(folder, "labels.txt")
    if not files:
        return None
    try:
        text = read_text(files[0], _MAX_MAP_BYTES)
    except AnnotationError as error:
        raise DataError(f"{files[0].absolute()} is not a label map: {error}") from None
    names = _map_items(text) if files[0].suffix == ".pbtxt" else _map_lines(text)
    if not names:
        raise DataError(f"{files[0].absolute()} names no classes; correct or remove it")
    return names


def _map_items(text: str) -> dict[int, str]:
    """`item { id: 1 name: 'cat' }`; records use the `display_name` if there is one."""
    items = _ITEM.findall(text)
    if len(items) != len(_ITEM_START.findall(text)):
        return {}  # an incomplete map would give wrong names
    found = {}
    for item in items:
        fields = {key: number or single or double for key, number, single, double in _FIELD.findall(item)}
        name = fields.get("display_name") or fields.get("name")
        if name and fields.get("id", "").isdigit():
            found[int(fields["id"])] = name
    return found


def _map_lines(text: str) -> dict[int, str]:
    """Lines `1:cat`, or names from id 1 on; a name of the background has id 0."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    numbered = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    if len(numbered) == len(lines):
        return {int(match[1]): match[2] for match in numbered}
    first = 0 if lines[0].lower() in BACKGROUND else 1
    return dict(enumerate(lines, start=first))
