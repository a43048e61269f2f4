"""Reads Pascal VOC: `Annotations/*.xml`, `JPEGImages/*`, and lists `ImageSets/Main/<split>.txt`.

Also a devkit with folders of several years, folders without lists, and XML beside the images.
"""

import re
from collections import defaultdict
from itertools import chain
from pathlib import Path
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from ssdcore.data.annotations import SIDES, Annotation, Example, ImageSource, Issue, LabelledSet
from ssdcore.data.formats.image_files import ImageFinder, name_uniquely
from ssdcore.data.formats.paths import MAX_BYTES, files_like, inside, is_file, read_bytes, read_lines
from ssdcore.data.formats.values import AnnotationError, check_object_count, flag, image_size, number, read_each, shown
from ssdcore.errors import DataError

_PER_CLASS = re.compile(r"\S.*\s(-1|0|1)")


def find_years(root: Path, images: Path | None = None) -> list[Path]:
    """The VOC folders: `root` itself, or those of a devkit, sorted by name."""
    needed = ["Annotations", "JPEGImages"][: 2 if images is None else 1]
    for folders in ([root], root.glob("*/"), root.glob("VOCdevkit/*/")):
        years = sorted(year for year in folders if all((year / folder).is_dir() for folder in needed))
        if years:
            return years
    return []


def read_voc(root: Path, images: Path | None = None) -> LabelledSet:
    """Reads a VOC folder, all years of a devkit, or a flat folder of XML and images.

    Raises:
        DataError: a list is not UTF-8 text, or all are empty.
    """
    splits: defaultdict[str, list[Example]] = defaultdict(list)
    issues: list[Issue] = []
    for year in find_years(root, images) or [root]:
        flat = not (year / "Annotations").is_dir()
        annotations, beside = (year, year) if flat else (year / "Annotations", year / "JPEGImages")
        lists = {} if flat else _lists(year / "ImageSets/Main", annotations)
        lists = lists or {"all": [path.stem for path in files_like(annotations, "*.xml")]}
        finder = ImageFinder([images or beside])
        examples = {name: _example(name, annotations, finder, issues) for name in dict.fromkeys(chain(*lists.values()))}
        for split, names in lists.items():
            splits[split] += filter(None, map(examples.get, names))
    return LabelledSet(root, "voc", name_uniquely(splits), tuple(issues))


def _lists(folder: Path, annotations: Path) -> dict[str, list[str]]:
    """The names in each list; empty if there are no lists."""
    files = files_like(folder, "*.txt")
    lists = {path.stem: list(dict.fromkeys(read_lines(path))) for path in files}
    splits = {split: names for split, names in lists.items() if names and not _is_per_class(names, annotations)}
    if files and not splits:
        raise DataError(
            f"{folder.absolute()} has no lists of image names; write one name a line into "
            "trainval.txt and test.txt there, or remove the lists to read all images"
        )
    return splits


def _is_per_class(names: list[str], annotations: Path) -> bool:
    """Whether these are names followed by -1, 0 or 1, not names that happen to end so."""
    return all(map(_PER_CLASS.fullmatch, names)) and not is_file(annotations / f"{names[0]}.xml")


def _example(name: str, annotations: Path, images: ImageFinder, issues: list[Issue]) -> Example | None:
    """The example of a name; None if it has an issue, which is added to `issues`."""
    source = inside(annotations, f"{name}.xml")
    if source is None:
        detail = f"a list has the name {shown(name)}, which no file inside can have"
        issues.append(Issue("missing annotation", annotations, detail))
        return None
    try:
        root = _parse(source, name)
        nodes = root.findall("object")
        check_object_count(len(nodes))
        objects, unreadable = read_each(nodes, _object, source)
        issues += unreadable
        image = images.find_stem(name) or _stated_image(root, images, source)
        size = image_size(*(root.findtext(f"size/{side}", "").strip() for side in ("height", "width")))
    except AnnotationError as error:
        issues.append(error.issue(source))
        return None
    return None if unreadable else Example(source.stem, ImageSource(image), source, tuple(objects), size)


def _stated_image(root: Element, images: ImageFinder, source: Path) -> Path:
    """The image that `<filename>` names."""
    try:
        return images.find(root.findtext("filename", "").strip().replace("\\", "/").rpartition("/")[2])
    except AnnotationError:
        raise images.missing(f"{source.stem}.jpg") from None


def _parse(source: Path, name: str) -> Element:
    if not is_file(source):
        raise AnnotationError(f"no file {shown(name + '.xml')} in {source.parent}", "missing annotation")
    try:
        root: Element = fromstring(read_bytes(source, MAX_BYTES, "too many objects"))
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise AnnotationError(f"it is not usable XML: {error}") from None
    return root


def _object(node: Element) -> Annotation:
    name = node.findtext("name", "").strip()
    if not name:
        raise AnnotationError("it has no name")
    difficult, truncated = (flag(node.findtext(key), key) for key in ("difficult", "truncated"))
    box = node.find("bndbox")  # of the object itself: parts of persons have their own, nested deeper
    if box is None:
        raise AnnotationError("it has no bndbox")
    if missing := [side for side in SIDES if box.find(side) is None]:
        raise AnnotationError(f"its bndbox has no {missing[0]}")
    xmin, ymin, xmax, ymax = (number(box.findtext(side)) for side in SIDES)
    return Annotation(name, (xmin, ymin, xmax, ymax), difficult, truncated)
