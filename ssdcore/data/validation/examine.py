"""Looks at one labelled image: which of its boxes can be used, and what is wrong with the others."""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from ssdcore.data.annotations import Annotation, Box, Example, Issue
from ssdcore.data.images import ImageError, UprightImage, make_upright
from ssdcore.errors import did_you_mean
from ssdcore.params.class_names import UNLABELLED

TOLERANCE = 1.0
"""Px by which a box may reach over the edge without being told of; many tools count from 1."""


class Usable(NamedTuple):
    """An object that can be learnt from; its xyxy box is normalised and inside the image."""

    annotation: Annotation
    box: Box


class Examined(NamedTuple):
    """What became of an example; `image` is None where it cannot be used."""

    image: UprightImage | None
    objects: tuple[Usable, ...]
    issues: tuple[Issue, ...]


def examine(example: Example, classes: Collection[str] | None) -> Examined:
    """Decodes the image and looks at every box.

    Args:
        example: to look at.
        classes: names that objects may have; None allows all.
    """
    try:
        image = make_upright(example.image.read())
    except ImageError as error:
        return Examined(None, (), (Issue(error.kind, example.image.path, str(error)),))
    except OSError as error:
        return Examined(None, (), (Issue("missing image", example.image.path, str(error.strerror)),))
    issues = [Issue(kind, example.image.path, detail) for kind, detail in image.changes]
    issues += _size_issue(example, image.size)
    usable = []
    for number, annotation in enumerate(example.objects, start=1):
        box, found = examine_box(annotation.box, example.normalised, image.size)
        if annotation.name == UNLABELLED and box is not None:
            usable.append(Usable(replace(annotation, crowd=True), box))
        elif classes is not None and annotation.name not in classes:
            found.append(("unknown class", f"{annotation.name!r}; {did_you_mean(annotation.name, classes)}"))
        elif box is not None:
            usable.append(Usable(annotation, box))
        where = f"{annotation.name}, " if annotation.name else ""
        issues += [Issue(kind, example.source, f"{where}{detail}", number, named(example)) for kind, detail in found]
    return Examined(image, tuple(usable), (*issues, *_duplicate_boxes(example)))


def named(example: Example) -> str | None:
    """The name to tell an image by where its annotations are in a file with others."""
    return None if example.source.stem == example.image.path.stem else example.name


def examine_box(box: Box, normalised: bool, size: tuple[int, int]) -> tuple[Box | None, list[tuple[str, str]]]:
    """The usable part of a box, normalised, and what is wrong with it as (kind, detail).

    Args:
        box: xyxy as annotated.
        normalised: it is in shares of the image.
        size: height and width of the image, px.
    """
    height, width = size
    across, down = (1, 1) if normalised else (width, height)
    left, top, right, bottom = box[0] / across, box[1] / down, box[2] / across, box[3] / down
    shown = "box " + " ".join(f"{side:g}" for side in box)
    if not all(map(math.isfinite, box)):
        return None, [("empty box", shown)]
    if left > right or top > bottom:
        return None, [("swapped corners", shown)]
    if left == right or top == bottom:
        return None, [("empty box", shown)]
    inside = (max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None, [("box outside", f"{shown}, image {width} x {height}")]
    over = max(-left * width, -top * height, (right - 1) * width, (bottom - 1) * height)
    issues = [("box over the edge", f"{shown}, by {over:.1f} px of {width} x {height}")] if over > TOLERANCE else []
    return inside, issues


def _size_issue(example: Example, size: tuple[int, int]) -> list[Issue]:
    if example.size is None or example.size == size:
        return []
    detail = f"annotated as {example.size[1]} x {example.size[0]}, the image is {size[1]} x {size[0]}"
    return [Issue("size mismatch", example.source, detail, image=named(example))]


def _duplicate_boxes(example: Example) -> list[Issue]:
    first: dict[tuple[str, Box], int] = {}
    issues = []
    for number, annotation in enumerate(example.objects, start=1):
        earlier = first.setdefault((annotation.name, annotation.box), number)
        if earlier != number:
            issues.append(
                Issue(
                    "duplicate box", example.source, f"{annotation.name}, as object {earlier}", number, named(example)
                )
            )
    return issues
