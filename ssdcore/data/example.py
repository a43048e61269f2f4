"""One labelled picture, whatever its annotations looked like."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Annotation:
    """One object: class name, xyxy box in pixels of the picture, and VOC's flags."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool = False
    truncated: bool = False


@dataclass(frozen=True)
class Example:
    """A picture file with its objects; `source` is the file the annotations came from."""

    picture: Path
    source: Path
    objects: tuple[Annotation, ...]

    @property
    def name(self) -> str:
        """The picture's file name without its ending."""
        return self.picture.stem
