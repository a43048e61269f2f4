"""Writes pictures."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import DataError


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Writes a BGR picture (H, W, 3) in the format that the path's ending names.

    Raises:
        DataError: the file cannot be written.
    """
    _, encoded = cv2.imencode(path.suffix, picture)
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise DataError(f"cannot write {path.absolute()}: {error.strerror}") from None
