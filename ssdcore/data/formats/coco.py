"""Reads COCO's object-detection JSON: one file, `annotations/instances_<split>.json`, or Roboflow's
`<split>/_annotations.coco.json`."""

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssdcore.data.annotations import Annotation, Example, ImageSource, Issue, LabelledSet
from ssdcore.data.formats.image_files import ImageFinder, name_uniquely, stem
from ssdcore.data.formats.paths import files_like, inside, read_text, split_name
from ssdcore.data.formats.values import AnnotationError, check_object_count, flag, image_size, is_name, number, shown
from ssdcore.errors import DataError

MAX_JSON_BYTES = 2**31
_ROBOFLOW = "_annotations.coco.json"
USUAL_LAYOUTS = ("annotations/instances_*.json", f"*/{_ROBOFLOW}", _ROBOFLOW, "instances_*.json")
_LAYOUTS = (*USUAL_LAYOUTS, "annotations/*.json", "*.json")
_OTHER_TASKS = ("captions_", "person_keypoints_", "panoptic_", "image_info_", "stuff_")

Id = int | str
Entry = Mapping[str, object]


def find_jsons(source: Path, layouts: Sequence[str] = _LAYOUTS) -> dict[str, Path]:
    """The JSON file of each split: `source` itself, or those in the folder."""
    if source.is_file():
        return {_split(source, alone=True): source}
    for layout in layouts:
        found = [path for path in files_like(source, layout) if not path.name.startswith(_OTHER_TASKS)]
        if found:
            return {_split(path, alone=len(found) == 1): path for path in found}
    return {}


def _split(file: Path, alone: bool) -> str:
    if file.name == _ROBOFLOW:
        return file.absolute().parent.name
    prefix, _, rest = file.stem.partition("instances_")
    return rest if rest and not prefix else split_name(file, alone)


def read_coco(source: Path, images: Path | None = None) -> LabelledSet:
    """Reads one JSON file or a folder of them; `images` has the images or a folder for each split.

    Raises:
        DataError: a file is not JSON, too large, or not COCO's; or its categories are unusable.
    """
    files = [_read_file(file, split, images) for split, file in find_jsons(source).items()]
    issues = tuple(issue for file in files for issue in file.issues)
    splits = name_uniquely({file.split: file.examples for file in files})
    return LabelledSet(source, "coco", splits, issues, _class_names(files))


@dataclass
class _File:
    """One JSON file; `categories`: name and group by id; `used`: the categories that objects have."""

    path: Path
    split: str
    categories: Mapping[Id, tuple[str, str | None]]
    used: set[Id] = field(default_factory=set)
    examples: list[Example] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)

    def report(self, detail: str, kind: str = "unreadable annotation", number: int | None = None) -> None:
        self.issues.append(Issue(kind, self.path, detail, number))


def _class_names(files: Sequence[_File]) -> tuple[str, ...]:
    """The classes of all files, by id, without Roboflow's category that only groups the others."""
    found = [(key, *category) for file in files for key, category in file.categories.items()]
    used = {file.categories[key][0] for file in files for key in file.used}
    groups = {group for _, name, group in found if group != name}
    found.sort(key=lambda item: (isinstance(item[0], str), item[0]))
    return tuple(name for name in dict.fromkeys(name for _, name, _ in found) if name in used or name not in groups)


def _read_file(path: Path, split: str, images: Path | None) -> _File:
    data = _load(path)
    file = _File(path, split, _categories(_table(data, "categories", path), path))
    listed = _images(_table(data, "images", path), file)
    objects, bad = _objects(_table(data, "annotations", path), listed, file)
    finder = _finder(path, split, images)
    for key, image in listed.items():
        if key not in bad:
            try:
                file.examples.append(_example(image, tuple(objects[key]), finder, path))
            except AnnotationError as error:
                file.report(f"image id {shown(key)}: {error}", error.kind)
    return file


def _load(path: Path) -> Entry:
    try:
        data: object = json.loads(read_text(path, MAX_JSON_BYTES))
    except AnnotationError as error:
        raise DataError(f"{path.absolute()} cannot be used: {error}") from None
    except RecursionError:
        raise DataError(f"{path.absolute()} is nested too deeply to be COCO's JSON") from None
    except ValueError as error:
        raise DataError(f"{path.absolute()} is not JSON: {error}; write it again, it may be cut off") from None
    if not isinstance(data, dict):
        raise DataError(f"{path.absolute()} is not COCO's JSON: it holds {shown(data)}, not an object")
    return data


def _table(data: Entry, key: str, path: Path) -> list[object]:
    table = data.get(key)
    if not isinstance(table, list):
        raise DataError(
            f"{path.absolute()} is not COCO's object-detection JSON: it has no list {key!r}; "
            "give a file with images, annotations and categories"
        )
    return table


def _entry(item: object) -> Entry:
    if not isinstance(item, dict):
        raise AnnotationError(f"it is {shown(item)}, not an object of keys and values")
    return item


def _id(entry: Entry, key: str, known: Container[object] | None = None) -> Id:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise AnnotationError(f"its {key} is {shown(value)}, not a number" if key in entry else f"it has no {key}")
    if known is not None and value not in known:
        raise AnnotationError(f"there is no {key} {shown(value)}")
    return value


def _categories(table: Iterable[object], path: Path) -> dict[Id, tuple[str, str | None]]:
    """The categories by id; raises DataError if one is unusable, as then no class is certain."""
    found: dict[Id, tuple[str, str | None]] = {}
    try:
        for entry in map(_entry, table):
            key, name, group = _id(entry, "id"), entry.get("name"), entry.get("supercategory")
            if not is_name(name):
                raise AnnotationError(f"id {shown(key)} has no name")
            category = (name.strip(), group.strip() if isinstance(group, str) else None)
            if found.setdefault(key, category)[0] != category[0]:
                raise AnnotationError(f"id {shown(key)} is both {shown(found[key][0])} and {shown(name)}")
    except AnnotationError as error:
        raise DataError(f"{path.absolute()} has a category that cannot be used: {error}; correct it") from None
    return found


def _images(table: Iterable[object], file: _File) -> dict[Id, Entry]:
    found: dict[Id, Entry] = {}
    for position, item in enumerate(table, start=1):
        try:
            entry = _entry(item)
            key = _id(entry, "id")
            if key in found:
                raise AnnotationError(f"image id {shown(key)} is that of an earlier image too")
            found[key] = entry
        except AnnotationError as error:
            file.report(f"image {position} of the list: {error}")
    return found


def _objects(
    table: Iterable[object], images: Mapping[Id, Entry], file: _File
) -> tuple[Mapping[Id, list[Annotation]], set[object]]:
    """The objects of each image, and the images with unreadable ones."""
    objects: defaultdict[Id, list[Annotation]] = defaultdict(list)
    bad: set[object] = set()
    for position, item in enumerate(table, start=1):
        try:
            entry = _entry(item)
            image, category = _id(entry, "image_id", images), _id(entry, "category_id", file.categories)
            objects[image].append(_object(entry, file.categories[category][0]))
            file.used.add(category)
        except AnnotationError as error:
            entry = item if isinstance(item, dict) else {}
            image_id = entry.get("image_id")
            bad.add(image_id if isinstance(image_id, int | str) else None)
            file.report(f"annotation id {shown(entry.get('id'))}: {error}", number=position)
    return objects, bad


def _object(entry: Entry, name: str) -> Annotation:
    """An object from its box [x, y, width, height], px; `ignore` becomes difficult."""
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise AnnotationError("it has no bbox of four numbers")
    x, y, width, height = map(number, box)
    difficult, crowd = flag(entry.get("ignore"), "ignore"), flag(entry.get("iscrowd"), "iscrowd")
    return Annotation(name, (x, y, x + width, y + height), difficult, crowd=crowd)


def _example(image: Entry, objects: tuple[Annotation, ...], finder: ImageFinder, source: Path) -> Example:
    name = image.get("file_name")
    if not isinstance(name, str):
        raise AnnotationError("it has no file_name")
    check_object_count(len(objects))
    size = image_size(image.get("height"), image.get("width"))
    return Example(stem(name), ImageSource(finder.find(name)), source, objects, size)


def _finder(path: Path, split: str, images: Path | None) -> ImageFinder:
    """Looks for a split's images, in folders for this split first."""
    if images:
        return ImageFinder([inside(images, split), images])
    bases = [path.parent, path.parent.parent] if path.absolute().parent.name == "annotations" else [path.parent]
    below = (split, f"images/{split}", "images")
    return ImageFinder([*(inside(base, name) for base in bases for name in below), *bases])
