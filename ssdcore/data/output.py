"""Folders to write into."""

from pathlib import Path

from ssdcore.errors import DataError


def require_unused(folder: Path) -> None:
    """Makes sure that a folder does not exist yet, or is empty.

    Raises:
        DataError: it is in use, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder.absolute()} exists already; remove it or choose another --out")
