"""Draws detections on pictures; imports supervision and OpenCV."""

from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from numpy.typing import NDArray

from ssdcore.detection import Detections
from ssdcore.errors import DataError

COLOURS = sv.ColorPalette.from_matplotlib("tab10", 10)


def draw(picture: NDArray[np.uint8], detections: Detections) -> NDArray[np.uint8]:
    """A copy of a BGR picture (H, W, 3) with boxes, class names and scores, one colour a class."""
    found = sv.Detections(
        xyxy=detections.boxes, confidence=detections.scores, class_id=detections.labels.astype(int) - 1
    )
    labels = [f"{item.name} {item.score:.2f}" for item in detections]
    height, width = picture.shape[:2]
    thickness = sv.calculate_optimal_line_thickness((width, height))
    scale = sv.calculate_optimal_text_scale((width, height))
    drawn = sv.BoxAnnotator(COLOURS, thickness).annotate(picture.copy(), found)
    return sv.LabelAnnotator(COLOURS, text_scale=scale, text_padding=2).annotate(drawn, found, labels)


def write_annotated(picture: NDArray[np.uint8], detections: Detections, path: Path) -> None:
    """Writes an RGB picture with its detections drawn.

    Raises:
        DataError: the file cannot be written.
    """
    _, encoded = cv2.imencode(path.suffix, draw(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), detections))
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise DataError(f"cannot write {path.absolute()}: {error.strerror}") from None
