"""What `ssd detect` is asked to do with detections; needs neither TensorFlow nor OpenCV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ssdcore.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from ssdcore import Detections

FORMATS = ("drawn", "json", "jsonl", "csv", "coco", "voc", "crops")
DEFAULT_FORMATS = ("drawn", "json")
DEFAULT_SCORE = 0.5


@dataclass(frozen=True)
class Thresholds:
    """Least scores: one for all classes, and others for some."""

    general: float
    by_class: Mapping[str, float]

    @property
    def least(self) -> float:
        """The lowest of all thresholds."""
        return min([self.general, *self.by_class.values()])

    def check(self, classes: Sequence[str]) -> None:
        """Raises DataError if a class is not one of the model's."""
        for name in self.by_class:
            if name not in classes:
                raise DataError(f"--score {name}=…: the model has no class {name!r}; {did_you_mean(name, classes)}")

    def apply(self, detections: "Detections") -> "Detections":
        """The detections that score above the threshold of their class."""
        limits = np.array([self.by_class.get(name, self.general) for name in detections.classes], np.float32)
        return detections.above(limits[detections.labels - 1])


@dataclass(frozen=True)
class DetectRequest:
    """The output folder, its formats, score thresholds, images per batch, and whether to show them on the screen."""

    out: Path
    formats: Sequence[str] = DEFAULT_FORMATS
    thresholds: Thresholds = Thresholds(DEFAULT_SCORE, {})
    batch: int = 8
    show: bool = False


def parse_thresholds(context: click.Context, option: click.Parameter, texts: Sequence[str]) -> Thresholds:
    """Parses `0.5` and `CLASS=0.7`; of two for the same class the later one counts."""
    general, by_class = DEFAULT_SCORE, {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        value = _score(number)
        if value is None or bool(equals) != bool(name):
            raise click.BadParameter(f"{text!r} is neither a number from 0 to 1 nor CLASS=NUMBER.", context, option)
        if name:
            by_class[name] = value
        else:
            general = value
    return Thresholds(general, by_class)


def _score(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None
