"""Least scores: one for all classes, and others for some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import numpy as np

from ssdcore.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from ssdcore import Detections

USUAL = 0.5


@dataclass(frozen=True)
class Thresholds:
    """A detection must score above the threshold of its class, or else above the general one."""

    general: float
    by_class: Mapping[str, float]

    @property
    def least(self) -> float:
        """What no detection may score less than."""
        return min([self.general, *self.by_class.values()])

    def check(self, classes: Sequence[str]) -> None:
        """Raises DataError if a class is not one of the model's."""
        for name in self.by_class:
            if name not in classes:
                raise DataError(f"--score {name}=…: the model has no class {name!r}; {did_you_mean(name, classes)}")

    def apply(self, found: "Detections") -> "Detections":
        """Those that score high enough."""
        limits = np.array([self.by_class.get(name, self.general) for name in found.classes], np.float32)
        return found.above(limits[found.labels - 1])


ANY_CLASS = Thresholds(USUAL, {})


def parse_thresholds(context: click.Context, option: click.Parameter, texts: Sequence[str]) -> Thresholds:
    """Reads `0.5` and `CLASS=0.7`; of two for the same the later one counts."""
    general, by_class = USUAL, {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        value = _share(number)
        if value is None or bool(equals) != bool(name):
            raise click.BadParameter(f"{text!r} is neither a number from 0 to 1 nor CLASS=NUMBER.", context, option)
        if name:
            by_class[name] = value
        else:
            general = value
    return Thresholds(general, by_class)


def _share(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None
