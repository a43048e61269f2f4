"""Files and folders to write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssdcore.errors import DataError


def require_unused(folder: Path) -> None:
    """Makes sure that a folder does not exist yet, or is empty.

    Raises:
        DataError: it is in use, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder.absolute()} exists already; remove it or choose another --out")


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Says what could not be written.

    Raises:
        DataError: writing failed inside.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write into {folder.absolute()}: {error.strerror}; make room there or choose another --out"
        ) from None


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that it is there under its name wholly or not at all, whenever the power fails."""
    partial = partial_path(path)
    try:
        partial.write_bytes(content)
        publish(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def partial_path(path: Path) -> Path:
    """Where this process writes a file until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def publish(partial: Path, path: Path) -> None:
    """Gives a written file its name once it is on disk."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
