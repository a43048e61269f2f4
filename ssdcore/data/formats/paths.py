"""Safe paths and bounded reading: names in annotation files lead nowhere but below the given folder."""

import os
from contextlib import suppress
from pathlib import Path, PureWindowsPath

from ssdcore.data.formats.values import AnnotationError
from ssdcore.errors import DataError

MAX_BYTES = 10 * 2**20
"""Limit for the annotations of one image."""

MAX_LIST_BYTES = 2**28
"""Limit for a list of image names."""

_USUAL_SPLITS = ("train", "val", "test", "trainval")


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
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def is_dir(path: Path) -> bool:
    """Whether there is such a folder; False for impossible names."""
    with suppress(OSError, ValueError):
        return path.is_dir()
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
        raise DataError(f"{path.absolute()} is not a list of images: {error}") from None
    return [line.strip() for line in text.split("\n") if line.strip()]
