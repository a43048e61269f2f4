"""What the readers share: safe paths, bounded reading, checked values, lookup of images.

Annotation files are not trusted: names in them lead nowhere but below the given folder, files are read only
up to a size, and numbers must be finite.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import TypeGuard, TypeVar

from ssdcore.data.annotations import Issue
from ssdcore.errors import DataError, did_you_mean

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""In lower case; the first that exists wins. Whether a file can be decoded is for validation to find."""

MAX_BYTES = 10 * 2**20
"""Limit for the annotations of one image."""

MAX_LIST_BYTES = 2**28
"""Limit for a list of image names."""

MAX_OBJECTS = 10_000
"""Limit for one image."""

T = TypeVar("T")
R = TypeVar("R")

_USUAL_SPLITS = ("train", "val", "test", "trainval")
_MAX_HINTS = 20  # Comparing names takes seconds where there are many of both.
_MAX_HINT_NAMES = 20_000


class AnnotationError(Exception):
    """One annotation cannot be read; readers turn it into an `Issue` and continue."""

    def __init__(self, detail: str, kind: str = "unreadable annotation") -> None:
        super().__init__(detail)
        self.kind = kind

    def issue(self, file: Path, number: int | None = None) -> Issue:
        """This error as an issue of a file's object `number`."""
        return Issue(self.kind, file, str(self), number)


def shown(value: object) -> str:
    """A value from a file, shortened for a message."""
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 80 else text[:77] + "..."


def number(value: object) -> float:
    """A finite number, given as a number or as text.

    Raises:
        AnnotationError: it is not one.
    """
    if isinstance(value, int | float | str) and not isinstance(value, bool) and "_" not in str(value):
        with suppress(ValueError, OverflowError):
            if math.isfinite(found := float(value)):
                return found
    raise AnnotationError(f"{shown(value)} is no number")


def flag(value: object, name: str) -> bool:
    """0 or 1, false or true, as value or text; None and empty text are false.

    Raises:
        AnnotationError: it is none of these.
    """
    text = "" if value is None else str(value).strip().lower()
    if text in ("", "0", "false"):
        return False
    if text in ("1", "true"):
        return True
    raise AnnotationError(f"{name} is {shown(value)}, not 0 or 1")


def is_name(value: object) -> TypeGuard[str]:
    """Whether this can be a class name: text that is not blank and valid UTF-8."""
    return isinstance(value, str) and bool(value.strip()) and value == value.encode(errors="ignore").decode()


def image_size(height: object, width: object) -> tuple[int, int] | None:
    """Height and width, px; None if one is missing or not positive.

    Raises:
        AnnotationError: one is not a number.
    """
    sides = [0 if side in (None, "") else int(number(side)) for side in (height, width)]
    return (sides[0], sides[1]) if min(sides) > 0 else None


def check_object_count(count: int) -> None:
    """Raises AnnotationError if an image has more than `MAX_OBJECTS` objects."""
    if count > MAX_OBJECTS:
        raise AnnotationError(f"{count} objects, above the {MAX_OBJECTS} that are read", "too many objects")


def stem(name: str) -> str:
    """The base name of a Windows or POSIX path, without an image's extension."""
    base = name.replace("\\", "/").rpartition("/")[2]
    bare, dot, extension = base.rpartition(".")
    return bare if bare and dot + extension.lower() in IMAGE_EXTENSIONS else base


def split_name(file: Path, alone: bool) -> str:
    """The split of an annotation file, by its name; a file `alone` with an unusual name is `all`."""
    return "all" if alone and file.stem not in _USUAL_SPLITS else file.stem


def inside(folder: Path, name: str) -> Path | None:
    """`name` below `folder`, with slashes of either kind; None if it is absolute, leads upward or is impossible."""
    relative = PureWindowsPath(name)
    possible = "\0" not in name and all(len(part) <= 255 for part in relative.parts)
    safe = relative.parts and not relative.anchor and ".." not in relative.parts and possible
    return folder.joinpath(*relative.parts) if safe else None


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for impossible names."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_dir(path: Path) -> bool:
    """Whether there is such a folder; False for impossible names."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def files_like(folder: Path, pattern: str) -> list[Path]:
    """The matching files, sorted, without those that macOS adds to archives."""
    return sorted(path for path in folder.glob(pattern) if is_file(path) and not path.name.startswith("._"))


def read_bytes(path: Path, limit: int, kind: str = "unreadable annotation") -> bytes:
    """The content of a file of at most `limit` bytes.

    Raises:
        AnnotationError: it is larger (an issue of this `kind`), or cannot be read.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise AnnotationError(f"it is above the {limit} bytes that are read", kind)
            return file.read(limit)
    except OSError as error:
        raise AnnotationError(f"it cannot be read: {error.strerror}") from None


def read_text(path: Path, limit: int, kind: str = "unreadable annotation") -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        AnnotationError: as `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path, limit, kind).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"it is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a list that are not blank.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        text = read_text(path, MAX_LIST_BYTES)
    except AnnotationError as error:
        raise DataError(f"{path.absolute()} is no list of images: {error}") from None
    return [line.strip() for line in text.split("\n") if line.strip()]


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


def read_each(items: Iterable[T], read: Callable[[T], R], file: Path) -> tuple[list[R], list[Issue]]:
    """What `read` makes of each item of a file, and the issues of those it cannot read, numbered from 1 on."""
    values: list[R] = []
    issues = []
    for number, item in enumerate(items, start=1):
        try:
            values.append(read(item))
        except AnnotationError as error:
            issues.append(error.issue(file, number))
    return values, issues


class ImageFinder:
    """Finds images by name in some folders; the first folder that has one wins."""

    def __init__(self, folders: Iterable[Path | None]) -> None:
        self.folders = tuple(dict.fromkeys(folder for folder in folders if folder is not None and is_dir(folder)))
        self._listings: dict[Path, dict[str, Path]] = {}
        self._hints = _MAX_HINTS

    def find(self, name: str) -> Path:
        """The image with this file name, which may include subfolders.

        Raises:
            AnnotationError: there is none, or the name leads out of the folders.
        """
        for folder in self.folders:
            path = inside(folder, name)
            if path is None:
                raise AnnotationError(f"the image's name {shown(name)} is no path inside its folder")
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

    def _listing(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listings:
            self._listings[folder] = _by_stem(folder)
        return self._listings[folder]


def _by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by stem; of several, the one with the most usual extension."""
    try:
        names = [entry.name for entry in os.scandir(folder) if _is_image_name(entry.name) and entry.is_file()]
    except (OSError, ValueError):
        return {}
    names.sort(key=lambda name: (-IMAGE_EXTENSIONS.index(Path(name).suffix.lower()), name))
    return {stem(name): folder / name for name in names}
