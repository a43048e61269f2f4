"""Labelled images in memory, from any format: a `LabelledSet` of `Example`s. And what can be wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

Box = tuple[float, float, float, float]

SIDES = ("xmin", "ymin", "xmax", "ymax")
"""The sides of a box, as VOC, CSV tables and TFRecords call them."""


@dataclass(frozen=True)
class Annotation:
    """One object: class name and xyxy box, with the flags of VOC and COCO.

    The box is in pixels of the upright image, or in fractions of it if the example is `normalised`, exactly
    as the file states it: swapped, empty or outside boxes are found by validation.
    """

    name: str
    box: Box
    difficult: bool = False
    truncated: bool = False
    crowd: bool = False


@dataclass(frozen=True)
class ImageSource:
    """The location of an encoded image: a file, or `length` bytes of one from `offset` on."""

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
        name: of the image, without extension; unique among the images of a set.
        image: where its encoded bytes are.
        source: the file the annotations came from.
        objects: in the order of that file.
        size: height and width that the annotations state, px; None if they state none.
        normalised: boxes are in fractions of the image, not in pixels.
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
        kind: one of `ISSUE_KINDS`.
        file: the annotation file or image concerned.
        detail: what was found there.
        object: number of the object in the file, or in its `image`, from 1 on; None if not about an object.
        image: the name of the image in a file of several; None if the file is about one.
    """

    kind: str
    file: Path
    detail: str
    object: int | None = None
    image: str | None = None

    @property
    def location(self) -> str:
        """Image and object in the file, each followed by a colon and a space."""
        image = f"image {self.image}: " if self.image is not None else ""
        return image + (f"object {self.object}: " if self.object is not None else "")

    def __str__(self) -> str:
        return f"{self.file.name}: {self.location}{self.kind}: {self.detail}"


Effect = Literal["stops", "drops box", "cuts box", "repairs", "none"]


class IssueKind(NamedTuple):
    """What conversion does about an issue, and advice to the user.

    `effect`: `stops` conversion unless faulty images are left out on request; `drops box` and
    `cuts box` concern one box; `repairs` the image; `none`: the image and its boxes are used unchanged.
    """

    effect: Effect
    advice: str


ISSUE_KINDS: dict[str, IssueKind] = {
    "unreadable annotation": IssueKind("stops", "repair the file, or remove its image from the list"),
    "missing annotation": IssueKind("stops", "add the file, or remove its image from the list"),
    "missing image": IssueKind("stops", "add the file, or remove its name from the list"),
    "unreadable image": IssueKind("stops", "replace the file: it cannot be decoded completely"),
    "image too large": IssueKind("stops", "scale the image down"),
    "too many objects": IssueKind("stops", "check the file: no image has so many objects"),
    "unknown class": IssueKind("stops", "correct the annotation, or allow the class"),
    "swapped corners": IssueKind("drops box", "swap the minimum and the maximum"),
    "empty box": IssueKind("drops box", "redraw the box: it has no area"),
    "box outside": IssueKind("drops box", "redraw the box: it lies outside the image"),
    "box over the edge": IssueKind("cuts box", "nothing to do, unless it is far off"),
    "rotated by EXIF": IssueKind("repairs", "nothing to do: conversion turns it upright"),
    "unusual image": IssueKind("repairs", "nothing to do: conversion makes it 8-bit RGB"),
    "size mismatch": IssueKind("none", "make sure that boxes were drawn on this image, at this size"),
    "duplicate box": IssueKind("none", "remove one of the two"),
    "duplicate image": IssueKind("none", "remove one of the two"),
    "in two splits": IssueKind("none", "remove it from one of them: scores on training images say nothing"),
    "likely misspelt class": IssueKind("none", "rename the class if it is another spelling"),
}
"""Every kind of issue, worst first."""


@dataclass(frozen=True)
class LabelledSet:
    """The contents of a folder or file of annotations.

    Attributes:
        root: the folder or file.
        format: `voc`, `coco`, `yolo`, `csv` or `tfrecord`.
        splits: the examples of each split; a format without lists has one split called `all`.
        issues: annotations that could not be read; their images are not among the examples.
        classes: names of classes 1..C in the format's own order; None if the format states none.
    """

    root: Path
    format: str
    splits: Mapping[str, tuple[Example, ...]]
    issues: tuple[Issue, ...] = ()
    classes: tuple[str, ...] | None = None
