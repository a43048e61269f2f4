"""Writes images."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import DataError


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes a BGR image (H, W, 3) in the format that the path's ending names.

    Raises:
        DataError: the file cannot be written.
    """
    _, encoded = cv2.imencode(path.suffix, image)
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise DataError(f"cannot write {path.absolute()}: {error.strerror}") from None
