"""Draws detections on images; imports supervision."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import supervision as sv
from matplotlib.ft2font import FT2Font

from ssdcore.detection import Detections
from ssdcore.types import Image

COLOURS = sv.ColorPalette.from_matplotlib("tab10", 10)
TEXT_FRACTION, MIN_TEXT = 0.02, 11
"""Height of labels: a fraction of the image's shorter side, and the least, px."""

PADDING = 2


def draw(image: Image, detections: Detections) -> Image:
    """A copy of a BGR image (H, W, 3) with boxes, class names and scores, one colour a class."""
    height, width = image.shape[:2]
    size, font = max(MIN_TEXT, round(TEXT_FRACTION * min(height, width))), label_font("".join(detections.classes))
    converted, colours = detections.to_supervision(), detections.labels.astype(int) - 1
    labels = np.array([f"{item.name} {item.score:.2f}" for item in detections], dtype=object)
    thickness = sv.calculate_optimal_line_thickness((width, height))
    drawn = sv.BoxAnnotator(COLOURS, thickness).annotate(np.array(image, order="C"), converted, colours)
    inside = converted.xyxy[:, 1] < size + 3 * PADDING  # there is no room for a label above the box
    for chosen, lower in ((~inside, 0), (inside, size + 2 * PADDING)):
        if chosen.any():
            labeller = _labeller(font, size, lower)
            drawn = labeller.annotate(drawn, converted[chosen], list(labels[chosen]), colours[chosen])
    return drawn


@lru_cache(maxsize=8)
def _labeller(font: str, size: int, lower: int) -> sv.RichLabelAnnotator:
    """Draws labels `lower` pixels below their usual place above the box; cached, as a font takes time to load."""
    return sv.RichLabelAnnotator(COLOURS, font_path=font, font_size=size, text_padding=PADDING, text_offset=(0, lower))


@lru_cache(maxsize=8)
def label_font(text: str) -> str:
    """The file of a font that has all characters of a text, or the most of all installed fonts.

    The first choice is DejaVu Sans, which comes with matplotlib and has Latin, Greek, Cyrillic and many more.
    """
    usual = str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
    if not _missing(usual, text):
        return usual
    from matplotlib.font_manager import findSystemFonts

    return min([usual, *sorted(findSystemFonts())], key=lambda file: _missing(file, text))


def _missing(font: str, text: str) -> int:
    """The number of characters of a text that a font does not have."""
    try:
        known = FT2Font(font).get_charmap()
    except RuntimeError:  # FreeType cannot read it
        return len(text) + 1
    return sum(ord(character) not in known for character in set(text))
