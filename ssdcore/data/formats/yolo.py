"""Reads YOLO data sets: `data.yaml`, images, and a .txt of `class cx cy w h` lines for each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ssdcore.data.annotations import Annotation, Box, Example, ImageSource, Issue, LabelledSet
from ssdcore.data.formats.image_files import ImageFinder, name_uniquely, stem, walk_images
from ssdcore.data.formats.paths import MAX_BYTES, files_like, inside, is_dir, is_file, read_lines, read_text
from ssdcore.data.formats.values import AnnotationError, check_object_count, is_name, number, read_each, shown
from ssdcore.errors import DataError

_MAX_YAML_BYTES = 2**20
_SPLITS = ("train", "val", "test")


class _Loader(yaml.SafeLoader):
    """Refuses aliases: a few lines of them can expand to more data than fits in memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases (*name), which are not read; write the values out")
        return super().compose_node(parent, index)


def find_yaml(source: Path) -> Path | None:
    """`source` itself, or the folder's data.yaml, or its only .yaml file."""
    if source.is_file():
        return source
    files = files_like(source, "*.yaml") + files_like(source, "*.yml")
    named = next((file for file in files if file.stem == "data"), None)
    return named or (files[0] if len(files) == 1 else None)


@dataclass
class _DataSet:
    """One data.yaml: the folders its paths are relative to, its classes by index, and what was read."""

    file: Path
    bases: tuple[Path, ...]
    classes: Mapping[int, str]
    issues: list[Issue] = field(default_factory=list)
    labels: int = 0


def read_yolo(source: Path, images: Path | None = None) -> LabelledSet:
    """Reads a data.yaml or the folder that contains it; its paths are relative to `images`, if given.

    Raises:
        DataError: there is none, it cannot be used, or no image or no label file is found.
    """
    file = find_yaml(source)
    if file is None:
        raise DataError(f"{source.absolute()} has no data.yaml; write one with names, train and val")
    data = _load(file)
    # `path` may name a folder below that of the file, which comes first then.
    stated = _below(file.parent, path) if isinstance(path := data.get("path"), str) else None
    bases = [images] if images else dict.fromkeys([stated or file.parent, file.parent])
    dataset = _DataSet(file, tuple(bases), _classes(data, file))
    sources = {split: entries for split in _SPLITS if (entries := _entries(data, split, file))}
    splits = {split: list(_examples(entries, split, dataset)) for split, entries in sources.items()}
    _check(splits, dataset)
    classes = tuple(dict.fromkeys(name for _, name in sorted(dataset.classes.items())))
    return LabelledSet(source, "yolo", name_uniquely(splits), tuple(dataset.issues), classes)


def _check(splits: Mapping[str, Sequence[Example]], dataset: _DataSet) -> None:
    where = " or ".join(str(base.absolute()) for base in dataset.bases)
    images = [example for examples in splits.values() for example in examples]
    if not images and not dataset.labels:
        raise DataError(
            f"none of the images that {dataset.file.absolute()} names for train, val and test are in {where}; "
            "correct its paths, or name the folder of the images"
        )
    expected = _label_paths(images[0].image.path)[0] if images else None
    # One missing label file means that the image has no objects; a missing folder, that the labels are elsewhere.
    if expected and not dataset.labels and not is_dir(expected.parent):
        raise DataError(
            f"none of the {len(images)} images of {dataset.file.absolute()} has a label file, as "
            f"{expected.absolute()} would be; put the labels there"
        )


def _load(file: Path) -> Mapping[Any, Any]:
    try:
        data: object = yaml.load(read_text(file, _MAX_YAML_BYTES), Loader=_Loader)
    except (AnnotationError, yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"{file.absolute()} is not readable YAML: {text:.300}") from None
    if not isinstance(data, dict) or "names" not in data:
        raise DataError(f"{file.absolute()} is not a YOLO data set: it has no 'names'; list the classes under that key")
    if "kpt_shape" in data:
        raise DataError(f"{file.absolute()} describes key points, not boxes; write labels of `class cx cy w h`")
    return data


def _classes(data: Mapping[Any, Any], file: Path) -> dict[int, str]:
    names = data["names"]
    entries = dict(enumerate(names)) if isinstance(names, list) else names
    if not entries or not isinstance(entries, dict):
        raise DataError(f"{file.absolute()} names no classes; list them under 'names'")
    found: dict[int, str] = {}
    for index, name in entries.items():
        # YAML reads unquoted yes, no and 1.5 as other types, and their spelling is lost.
        usable = is_name(name) or type(name) is int
        if not usable or not isinstance(index, int) or index < 0:
            raise DataError(f"{file.absolute()}: class {shown(index)} has the name {shown(name)}; put it in quotes")
        found[index] = str(name).strip()
    count = data.get("nc", len(found))
    if count != len(found):
        raise DataError(f"{file.absolute()} has {len(found)} names, but nc is {shown(count)}; correct one of them")
    return found


def _below(base: Path, name: str) -> Path | None:
    """`name` below `base`, or None; an absolute path may lead there too.

    Leading `..` are dropped: Roboflow writes `../train/images` for `train/images`.
    """
    path = PurePosixPath(name.strip().replace("\\", "/"))
    if path.is_absolute():
        try:
            path = path.relative_to(base.absolute().as_posix())
        except ValueError:
            return None
    parts = list(dropwhile("..".__eq__, path.parts))
    return inside(base, "/".join(parts)) if parts else base


def _entries(data: Mapping[Any, Any], split: str, file: Path) -> list[str]:
    value = data.get(split) or []
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{file.absolute()}: {split} is neither a path nor a list of paths; correct it")
    return entries


def _examples(entries: Sequence[str], split: str, dataset: _DataSet) -> Iterator[Example]:
    images = [image for entry in entries for image in _images(entry, split, dataset)]
    for image in dict.fromkeys(images):
        label = next((path for path in _label_paths(image) if is_file(path)), None)
        objects, issues = _read_labels(label, dataset.classes) if label else ((), [])
        dataset.labels += label is not None
        dataset.issues += issues
        if not issues:
            yield Example(stem(image.name), ImageSource(image), label or image, objects, normalised=True)


def _images(entry: str, split: str, dataset: _DataSet) -> Iterator[Path]:
    """The images of a folder, or of a list of them."""
    found = (path for base in dataset.bases if (path := _below(base, entry)))
    path = next((path for path in found if is_dir(path) or is_file(path)), None)
    if path is None:
        detail = f"{split} is {shown(entry)}, which is not below {dataset.bases[0].absolute()}"
        dataset.issues.append(AnnotationError(detail, "missing image").issue(dataset.file))
    elif is_dir(path):
        yield from walk_images(path)
    else:
        yield from _listed(path, dataset)


def _listed(file: Path, dataset: _DataSet) -> Iterator[Path]:
    """The images in a list, relative to the data set or to the list."""
    bases = (*dataset.bases, file.parent)
    for name in read_lines(file):
        paths = [path for base in bases if (path := _below(base, name))]
        found = next((path for path in paths if is_file(path)), None)
        if found:
            yield found
        else:
            near = ImageFinder(path.parent for path in paths[:1])
            dataset.issues.append(near.missing(name.replace("\\", "/").rpartition("/")[2]).issue(file))


def _label_paths(image: Path) -> tuple[Path, ...]:
    """The possible label files of an image: in `labels` instead of the last `images`, or beside it."""
    beside = image.with_suffix(".txt")
    parts = list(beside.absolute().parts)
    if "images" not in parts[:-1]:
        return (beside,)
    last = len(parts) - 2 - parts[-2::-1].index("images")
    return (Path(*parts[:last], "labels", *parts[last + 1 :]), beside)


def _read_labels(file: Path, classes: Mapping[int, str]) -> tuple[tuple[Annotation, ...], list[Issue]]:
    def label(line: str) -> Annotation | None:
        if not (words := line.split()):
            return None
        index, *values = map(number, words)
        if index not in classes:
            raise AnnotationError(f"class {words[0]:.40} is none of the {len(classes)} in the data set's names")
        return Annotation(classes[int(index)], _box(values))

    try:
        lines = read_text(file, MAX_BYTES, "too many objects").split("\n")
        check_object_count(sum(1 for line in lines if line.strip()))
    except AnnotationError as error:
        return (), [error.issue(file)]
    objects, issues = read_each(lines, label, file)
    return tuple(filter(None, objects)), issues


def _box(values: Sequence[float]) -> Box:
    """Corners, in fractions of the image, from `cx cy w h` or a polygon `x y x y x y ...`."""
    if len(values) == 4:
        x, y, width, height = values
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(values) < 6 or len(values) % 2:
        raise AnnotationError(f"{len(values)} numbers follow the class, not 4 of a box or 6, 8, ... of a polygon")
    xs, ys = values[::2], values[1::2]
    return (min(xs), min(ys), max(xs), max(ys))
