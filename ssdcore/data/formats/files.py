"""What the readers share: safe paths, bounded reading, images found by name.

What a file of annotations says is never trusted: names in it lead nowhere but below the folder
given, files are read up to a size only, and numbers must be finite.
"""

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PureWindowsPath
from typing import TypeGuard

from ssdcore.data.annotations import Issue
from ssdcore.errors import DataError, did_you_mean

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""In lower case; the first that is there wins. Those that cannot be decoded are for the check to find."""

MAX_BYTES = 10 * 2**20
"""Of the annotations of one image."""

MAX_LIST_BYTES = 2**28
"""Of a list of image names."""

MAX_OBJECTS = 10_000
"""Of one image."""

_USUAL_SPLITS = ("train", "val", "test", "trainval")
_MAX_HINTS = 20  # Comparing names takes seconds where there are many of both.
_MAX_HINT_NAMES = 20_000


class AnnotationError(Exception):
    """One annotation cannot be read; readers turn it into a `Issue` and go on."""

    def __init__(self, detail: str, kind: str = "unreadable annotation") -> None:
        super().__init__(detail)
        self.kind = kind

    def issue(self, file: Path, number: int | None = None) -> Issue:
        """As an issue of a file's object `number`."""
        return Issue(self.kind, file, str(self), number)


def shown(value: object) -> str:
    """A value from a file as one short line."""
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 80 else text[:77] + "..."


def number(value: object) -> float:
    """A finite number, given as one or as text.

    Raises:
        AnnotationError: it is none.
    """
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool) and "_" not in str(value):
            found = float(value)
            if math.isfinite(found):
                return found
    except (ValueError, OverflowError):
        pass
    raise AnnotationError(f"{shown(value)} is no number")


def flag(value: object, name: str) -> bool:
    """0 or 1, false or true, as value or text; nothing is false.

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
    """Whether this can be the name of a class: text that is not blank and can be written as UTF-8."""
    return isinstance(value, str) and bool(value.strip()) and value == value.encode(errors="ignore").decode()


def image_size(height: object, width: object) -> tuple[int, int] | None:
    """Height and width, px; None where one is not given or not above 0.

    Raises:
        AnnotationError: one is no number.
    """
    sides = [0 if side in (None, "") else int(number(side)) for side in (height, width)]
    return (sides[0], sides[1]) if min(sides) > 0 else None


def check_object_count(count: int) -> None:
    """Raises AnnotationError where an image has more objects than any image can have."""
    if count > MAX_OBJECTS:
        raise AnnotationError(f"{count} objects, above the {MAX_OBJECTS} that are read", "too many objects")


def stem(name: str) -> str:
    """The base name of a path in any system's notation, without an image's ending."""
    base = name.replace("\\", "/").rpartition("/")[2]
    bare, dot, ending = base.rpartition(".")
    return bare if bare and dot + ending.lower() in IMAGE_ENDINGS else base


def split_name(file: Path, alone: bool) -> str:
    """The split that a file of annotations is for, by its name; a file `alone` may be for `all`."""
    return "all" if alone and file.stem not in _USUAL_SPLITS else file.stem


def inside(folder: Path, name: str) -> Path | None:
    """`name` below `folder`; None where it is absolute, leads upward, or no file can have it.

    Slashes of both kinds separate.
    """
    relative = PureWindowsPath(name)
    possible = "\0" not in name and all(len(part) <= 255 for part in relative.parts)
    safe = relative.parts and not relative.anchor and ".." not in relative.parts and possible
    return folder.joinpath(*relative.parts) if safe else None


def is_file(path: Path) -> bool:
    """Whether there is such a file; names that no file can have are no errors."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_dir(path: Path) -> bool:
    """Whether there is such a folder; names that none can have are no errors."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def files_like(folder: Path, pattern: str) -> list[Path]:
    """The files that match, sorted, without those that macOS adds to archives."""
    return sorted(path for path in folder.glob(pattern) if is_file(path) and not path.name.startswith("._"))


def read_bytes(path: Path, limit: int, kind: str = "unreadable annotation") -> bytes:
    """The content of a file of at most `limit` bytes.

    Raises:
        AnnotationError: it is larger (an issue of this kind), or cannot be read.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise AnnotationError(f"it is above the {limit} bytes that are read", kind)
            return file.read(limit)
    except OSError as error:
        raise AnnotationError(f"it cannot be read: {error.strerror}") from None


def read_text(path: Path, limit: int, kind: str = "unreadable annotation") -> str:
    """A file of UTF-8 text, with or without a byte order mark.

    Raises:
        AnnotationError: as `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path, limit, kind).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"it is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a list, without those that are empty.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        text = read_text(path, MAX_LIST_BYTES)
    except AnnotationError as error:
        raise DataError(f"{path.absolute()} is no list of images: {error}") from None
    return [line.strip() for line in text.split("\n") if line.strip()]


def walk_images(folder: Path) -> Iterator[Path]:
    """All images below a folder, in order of their names; links to folders are not followed."""
    for where, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if _is_image_name(name) and is_file(Path(where, name)):
                yield Path(where, name)


def _is_image_name(name: str) -> bool:
    # macOS puts a file `._name.jpg` that is no image beside each image of an archive.
    return Path(name).suffix.lower() in IMAGE_ENDINGS and not name.startswith("._")


class Images:
    """Finds the images that annotations name in some folders, the first folder that has one wins."""

    def __init__(self, folders: Iterable[Path | None]) -> None:
        self.folders = tuple(dict.fromkeys(folder for folder in folders if folder is not None and is_dir(folder)))
        self._listings: dict[Path, dict[str, Path]] = {}
        self._hints = _MAX_HINTS

    def named(self, name: str) -> Path:
        """The image with this file name, which may have subfolders.

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

    def called(self, name: str) -> Path | None:
        """The image with this name and any image's ending."""
        for folder in self.folders:
            path = inside(folder, name)
            if path is not None and (found := self._listing(path.parent).get(path.name)):
                return found
        return None

    def missing(self, name: str) -> AnnotationError:
        """Says that there is no such image, and which one might be meant."""
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
    """The images of a folder by name without ending; of several, the one with the most usual ending."""
    try:
        names = [entry.name for entry in os.scandir(folder) if _is_image_name(entry.name) and entry.is_file()]
    except (OSError, ValueError):
        return {}
    names.sort(key=lambda name: (-IMAGE_ENDINGS.index(Path(name).suffix.lower()), name))
    return {stem(name): folder / name for name in names}
