"""Finds the image files that annotations name, and gives the images unique names."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from ssdcore.data.annotations import Example, ImageSource
from ssdcore.data.formats.paths import inside, is_dir, is_file
from ssdcore.data.formats.values import AnnotationError, shown
from ssdcore.errors import did_you_mean

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""In lower case; the first that exists wins. Whether a file can be decoded is for validation to find."""

_MAX_HINTS = 20  # Comparing names takes seconds where there are many of both.
_MAX_HINT_NAMES = 20_000

_Key = tuple[str, ImageSource]


def stem(name: str) -> str:
    """The base name of a Windows or POSIX path, without an image's extension."""
    base = name.replace("\\", "/").rpartition("/")[2]
    bare, dot, extension = base.rpartition(".")
    return bare if bare and dot + extension.lower() in IMAGE_EXTENSIONS else base


def walk_images(folder: Path) -> Iterator[Path]:
    """All images below a folder, sorted by name; links to folders are not followed."""
    for where, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if _is_image_name(name) and is_file(Path(where, name)):
                yield Path(where, name)


def _is_image_name(name: str) -> bool:
    # macOS adds a file `._name.jpg`, which is not an image, for each image of an archive.
    return Path(name).suffix.lower() in IMAGE_EXTENSIONS and not name.startswith("._")


class ImageFinder:
    """Finds images by name in some folders; the first folder that has one wins."""

    def __init__(self, folders: Iterable[Path | None]) -> None:
        self.folders = tuple(dict.fromkeys(folder for folder in folders if folder is not None and is_dir(folder)))
        self._listing = cache(_by_stem)
        self._hints = _MAX_HINTS

    def find(self, name: str) -> Path:
        """The image with this file name, which may include subfolders.

        Raises:
            AnnotationError: there is none, or the name leads out of the folders.
        """
        for folder in self.folders:
            path = inside(folder, name)
            if path is None:
                raise AnnotationError(f"the image's name {shown(name)} is not a path inside its folder")
            if is_file(path):
                return path
        raise self.missing(name)

    def find_stem(self, name: str) -> Path | None:
        """The image with this name and any image extension."""
        for folder in self.folders:
            path = inside(folder, name)
            if path is not None and (found := self._listing(path.parent).get(path.name)):
                return found
        return None

    def missing(self, name: str) -> AnnotationError:
        """An error that there is no such image, with the most similar names."""
        where = ", ".join(str(folder) for folder in self.folders) or "any folder"
        return AnnotationError(f"no image {shown(name)} in {where}{self._hint(name)}", "missing image")

    def _hint(self, name: str) -> str:
        known = [known for folder in self.folders for known in self._listing(folder)]
        if len(known) > _MAX_HINT_NAMES or len(name) > 255 or self._hints <= 0:
            return ""
        self._hints -= 1
        near = did_you_mean(stem(name), known)
        return f"; {near}" if near.startswith("did you mean") else ""


def _by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by stem; of several, the one with the most usual extension."""
    try:
        names = [entry.name for entry in os.scandir(folder) if _is_image_name(entry.name) and entry.is_file()]
    except (OSError, ValueError):
        return {}
    names.sort(key=lambda name: (-IMAGE_EXTENSIONS.index(Path(name).suffix.lower()), name))
    return {stem(name): folder / name for name in names}


def name_uniquely(splits: Mapping[str, Sequence[Example]]) -> dict[str, tuple[Example, ...]]:
    """Renames examples so that different images have different names.

    Clashing names get a prefix: the nearest parent folder in which their images differ, or the file if that
    holds many images. Those that still clash are numbered.
    """
    names = _unique_names({(example.name, example.image) for split in splits.values() for example in split})
    return {
        split: tuple(replace(example, name=names[example.name, example.image]) for example in examples)
        for split, examples in splits.items()
    }


def _unique_names(keys: set[_Key]) -> dict[_Key, str]:
    # File names that are not UTF-8 can be read as text, but not written as such.
    names = {
        key: key[0].encode(errors="replace").decode()
        for key in sorted(keys, key=lambda key: (key[0], key[1].path, key[1].offset))
    }
    paths = {key: key[1].path for key in _clashing(names)}
    parents = {
        key: (path.name.partition(".")[0], *reversed(path.absolute().parent.parts[1:])) for key, path in paths.items()
    }
    for depth in range(max(map(len, parents.values()), default=0)):
        groups: defaultdict[str, list[_Key]] = defaultdict(list)
        for key in _clashing(names):
            groups[names[key]].append(key)
        for group in groups.values():
            prefixes = {key: "".join(parents.get(key, ())[depth : depth + 1]) for key in group}
            if len(set(prefixes.values())) > 1:
                names.update({key: f"{prefix}_{names[key]}" for key, prefix in prefixes.items() if prefix})
    return _numbered(names)


def _clashing(names: Mapping[_Key, str]) -> list[_Key]:
    counts = Counter(names.values())
    return [key for key, name in names.items() if counts[name] > 1]


def _numbered(names: Mapping[_Key, str]) -> dict[_Key, str]:
    taken = set(names.values())
    numbers: Counter[str] = Counter()
    found = {}
    for key, name in names.items():
        numbers[name] += 1
        while numbers[name] > 1 and f"{name}_{numbers[name]}" in taken:
            numbers[name] += 1
        found[key] = name if numbers[name] == 1 else f"{name}_{numbers[name]}"
        taken.add(found[key])
    return found
