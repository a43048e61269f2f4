"""Locks that the system holds for a process, and lets go whatever ends it."""

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ssdcore.errors import TrainingError
from ssdcore.runs.run_folder import RunFolder, explain_writing

PATIENCE = 2.0
"""Seconds to wait for a lock: to ask whether it is held is to hold it for a moment."""

PAUSE = 0.02
_ABSENT = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What file systems without locks answer."""

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, 1 << 30, os.SEEK_SET)  # a locked byte cannot be read by others
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def held(path: Path, patience: float = PATIENCE) -> Iterator[bool]:
    """Holds the lock of this name while entered; gives whether it could be had in `patience` seconds.

    The file is there, and says who holds it, while the lock is held. What a killed process leaves of
    it locks nothing. On file systems without locks everybody has the lock.
    """
    file = _take(path, patience)
    try:
        yield file is not None
    finally:
        if file is not None:
            with suppress(OSError):  # open files stay on Windows
                path.unlink()
            os.close(file)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of this name; yes if the file system cannot tell."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except PermissionError:  # another user's
        return True
    try:
        return _try(file) is not True
    finally:
        os.close(file)


def _take(path: Path, patience: float) -> int | None:
    give_up = time.monotonic() + patience
    while True:
        file = _open(path)
        if file is not None:
            # Who held it before may have removed the file between the two.
            if _try(file) is not False and _is_at(file, path):
                os.ftruncate(file, 0)
                os.write(file, f"{os.getpid()} on {socket.gethostname()}\n".encode())
                return file
            os.close(file)
        if time.monotonic() > give_up:
            return None
        time.sleep(PAUSE)


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if path.exists():  # another user's, or, on Windows, about to go
            return None
        raise


def _try(file: int) -> bool | None:
    """Locks an open file; False if another process has done so, None if the file system cannot."""
    try:
        _lock(file)
    except OSError as error:
        return None if error.errno in _ABSENT else False
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def alone_in(run: RunFolder) -> Iterator[None]:
    """Keeps other processes from training in a run folder; makes it, and removes it if nothing came into it.

    Raises:
        TrainingError: one does; or the folder cannot be written.
    """
    if run.root.exists() and not run.root.is_dir():
        raise TrainingError(f"{run.root.absolute()} is a file; give another --out")
    is_new = not run.root.exists()
    with explain_writing(run.root):
        run.root.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            with explain_writing(run.lock):
                alone = stack.enter_context(held(run.lock))
            if not alone:
                raise TrainingError(
                    f"another process ({_holder(run.lock)}) trains in {run.root.absolute()}; stop it or wait for its "
                    "end, or give another --out"
                )
            yield
    finally:
        if is_new:
            with suppress(OSError):
                run.root.rmdir()


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "unknown"
    except OSError:
        return "unknown"
