"""Writing files whole or not at all, and one process at a time."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from ssdcore.errors import SsdError

PARTIAL = ".partial"
"""Ending of files that are being written, or were when a process was killed."""


@contextmanager
def atomic_file(path: Path, error: type[SsdError] = SsdError) -> Iterator[BinaryIO]:
    """A binary file that appears as `path`, flushed to disk, when the block ends; an exception leaves what was there.

    It is written under a fresh hidden name in the same folder, so that no link is followed and no file of
    another process is touched.

    Raises:
        SsdError: of the class `error`, reason `cannot_write`: the disk is full or the folder cannot be written.
    """
    with _renamed_to(path, error) as partial, partial.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def link_atomic(path: Path, target: Path, error: type[SsdError] = SsdError) -> None:
    """Gives the file `path` a second name, `target`; copies it where the file system has no links.

    Raises:
        SsdError: as `atomic_file`.
    """
    with _renamed_to(target, error) as partial:
        try:
            os.link(path, partial)
        except OSError:
            shutil.copyfile(path, partial)


@contextmanager
def _renamed_to(path: Path, error: type[SsdError]) -> Iterator[Path]:
    """A fresh hidden name, to be renamed to `path` when the block ends."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    with explain_writing(path, error):
        try:
            yield partial
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes, error: type[SsdError] = SsdError) -> None:
    """Writes `path` as `atomic_file` does, with the same errors."""
    with atomic_file(path, error) as file:
        file.write(content)


@contextmanager
def explain_writing(path: Path, error: type[SsdError] = SsdError, reason: str = "cannot_write") -> Iterator[None]:
    """Turns an OSError of the block into one that names the path.

    Raises:
        SsdError: of the class `error`, with this reason.
    """
    try:
        yield
    except OSError as failure:
        raise error(f"cannot write {path.absolute()}: {failure.strerror or failure}", reason) from None


def require_unused(folder: Path, error: type[SsdError] = SsdError) -> None:
    """Makes sure that a folder does not exist yet, or is empty.

    Raises:
        SsdError: of the class `error`, reason `folder_in_use`: it holds files, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise error(f"{folder.absolute()} exists already", "folder_in_use")


@contextmanager
def exclusive(path: Path, busy: SsdError, timeout: float = 2.0) -> Iterator[None]:
    """Holds the lock file `path` while entered; the operating system releases it when the process ends in any way.

    Raises:
        SsdError: `busy`, when another process holds it for `timeout` seconds.
    """
    lock = FileLock(path)
    with explain_writing(path, type(busy)):
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise busy from None
    try:
        yield
    finally:
        lock.release()
