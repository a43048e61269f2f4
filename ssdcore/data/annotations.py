"""Labelled images as all annotation formats are read: one `LabelledSet` of `Example`s."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Annotation:
    """One object: class name and xyxy box, with the flags of VOC and COCO.

    The box is in pixels of the upright image, in shares of it where the example is `normalised`,
    and exactly as the file states it: swapped, empty or outside boxes are for the check to find.
    """

    name: str
    box: Box
    difficult: bool = False
    truncated: bool = False
    crowd: bool = False


@dataclass(frozen=True)
class ImageSource:
    """Where the encoded bytes of an image are: a file, or `length` bytes of one from `offset` on."""

    path: Path
    offset: int = 0
    length: int | None = None

    def read(self) -> bytes:
        """The encoded image.

        Raises:
            OSError: it cannot be read.
        """
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(-1 if self.length is None else self.length)


@dataclass(frozen=True)
class Example:
    """An image with its objects.

    Attributes:
        name: of the image, without ending; unique among the images of a set.
        image: its encoded bytes.
        source: the file the annotations came from.
        objects: in the order of that file.
        size: height and width that the annotations state, px; None: they state none.
        normalised: boxes are in shares of the image, not in pixels.
    """

    name: str
    image: ImageSource
    source: Path
    objects: tuple[Annotation, ...]
    size: tuple[int, int] | None = None
    normalised: bool = False


@dataclass(frozen=True)
class Issue:
    """Something wrong with the data.

    Attributes:
        kind: one of `issues.KINDS`.
        file: the file it is in, an annotation or an image.
        detail: what was found there, in words.
        object: which object of the file, or of its `image`, from 1 on; None: not about one.
        image: the name of the image in a file of several; None: the file is about one.
    """

    kind: str
    file: Path
    detail: str
    object: int | None = None
    image: str | None = None

    @property
    def place(self) -> str:
        """Image and object in the file, each with a colon and a space behind it."""
        image = f"image {self.image}: " if self.image is not None else ""
        return image + (f"object {self.object}: " if self.object is not None else "")

    def __str__(self) -> str:
        return f"{self.file.name}: {self.place}{self.kind}: {self.detail}"


@dataclass(frozen=True)
class LabelledSet:
    """What a folder or file of annotations holds.

    Attributes:
        root: where it was read.
        format: `voc`, `coco`, `yolo`, `csv` or `tfrecord`.
        splits: the examples of each split of the format's own lists; without such lists there is
            one split called `all`.
        issues: annotations that could not be read; their images are not among the examples.
        classes: names of classes 1..C in the format's own order; None: the format states none.
    """

    root: Path
    format: str
    splits: Mapping[str, tuple[Example, ...]]
    issues: tuple[Issue, ...] = ()
    classes: tuple[str, ...] | None = None
