"""The provenance of weights: the data and the versions they were made with."""

import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("ssdcore", "tensorflow", "keras", "numpy")


def provenance(data: Path, digest: str, plugins: Iterable[str]) -> dict[str, Any]:
    """Plain values for a checkpoint.

    Args:
        data: folder of records.
        digest: of their images and annotations.
        plugins: distributions of the backbones that are installed.
    """
    return {
        "data": str(data.absolute()),
        "data_digest": digest,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in (*PACKAGES, *plugins)},
        "git_commit": _git_commit(),
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the working directory, marked `-dirty` if files differ from it."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
