"""Draws detections on pictures; imports supervision and OpenCV."""

from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from numpy.typing import NDArray

from ssdcore.detection import Detections
from ssdcore.errors import DataError


def draw(picture: NDArray[np.uint8], detections: Detections) -> NDArray[np.uint8]:
    """A copy of an RGB picture (H, W, 3) with boxes, class names and scores, one colour a class."""
    found = sv.Detections(xyxy=detections.boxes, confidence=detections.scores, class_id=detections.labels.astype(int))
    labels = [f"{item.name} {item.score:.2f}" for item in detections]
    height, width = picture.shape[:2]
    thickness = sv.calculate_optimal_line_thickness((width, height))
    scale = sv.calculate_optimal_text_scale((width, height))
    drawn = sv.BoxAnnotator(thickness=thickness).annotate(picture.copy(), found)
    annotator = sv.LabelAnnotator(text_scale=scale, text_padding=2, text_thickness=1)
    return annotator.annotate(drawn, found, labels)


def write_annotated(picture: NDArray[np.uint8], detections: Detections, path: Path) -> None:
    """Writes a picture with its detections drawn.

    Raises:
        DataError: the file cannot be written.
    """
    done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(draw(picture, detections), cv2.COLOR_RGB2BGR))
    try:
        if not done:
            raise OSError(f"OpenCV cannot write {path.suffix} files")
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise DataError(f"cannot write {path.absolute()}: {error}") from None
