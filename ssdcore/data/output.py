"""A name for a file that is being written; `ssdcore.files` has what replaces it."""

import os
from pathlib import Path


def partial_path(path: Path) -> Path:
    """Where this process writes a file until it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")
