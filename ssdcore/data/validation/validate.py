"""Validates one labelled image: which of its boxes can be used, and what is wrong with the others."""

import math
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from ssdcore.data.annotations import Annotation, Box, Example, Issue
from ssdcore.data.images import ImageError, UprightImage, make_upright
from ssdcore.errors import did_you_mean
from ssdcore.params.class_names import UNLABELLED

TOLERANCE = 1.0
"""Px by which a box may exceed the image without an issue; many tools count from 1."""


class ValidBox(NamedTuple):
    """An object that can be trained on; its xyxy box is normalised and inside the image."""

    annotation: Annotation
    box: Box


class ValidatedExample(NamedTuple):
    """The usable part of an example and its issues; `image` is None if it cannot be used."""

    image: UprightImage | None
    objects: tuple[ValidBox, ...]
    issues: tuple[Issue, ...]


def validate(example: Example, classes: Collection[str] | None) -> ValidatedExample:
    """Decodes the image and checks every box, and that the class is one of `classes`; None allows all."""
    try:
        image = make_upright(example.image.read())
    except ImageError as error:
        return ValidatedExample(None, (), (Issue(error.kind, example.image.path, str(error)),))
    except OSError as error:
        return ValidatedExample(None, (), (Issue("missing image", example.image.path, str(error.strerror)),))
    issue = partial(Issue, file=example.source, image=image_name(example))
    issues = [Issue(kind, example.image.path, detail) for kind, detail in image.changes]
    if example.size is not None and example.size != image.size:
        stated, real = (f"{width} x {height}" for height, width in (example.size, image.size))
        detail = f"annotated as {stated}, the image is {real}"
        issues.append(issue("size mismatch", detail=detail))
    valid = []
    for number, annotation in enumerate(example.objects, start=1):
        box, found = validate_box(annotation.box, example.normalised, image.size)
        if annotation.name == UNLABELLED and box is not None:
            valid.append(ValidBox(replace(annotation, crowd=True), box))
        elif classes is not None and annotation.name not in classes:
            found.append(("unknown class", f"{annotation.name!r}; {did_you_mean(annotation.name, classes)}"))
        elif box is not None:
            valid.append(ValidBox(annotation, box))
        label = f"{annotation.name}, " if annotation.name else ""
        issues += [issue(kind, detail=f"{label}{detail}", object=number) for kind, detail in found]
    return ValidatedExample(image, tuple(valid), (*issues, *_duplicate_boxes(example)))


def image_name(example: Example) -> str | None:
    """What identifies the image in an annotation file of several; None if the file is about this image only."""
    return None if example.source.stem == example.image.path.stem else example.name


def validate_box(box: Box, normalised: bool, size: tuple[int, int]) -> tuple[Box | None, list[tuple[str, str]]]:
    """The usable part of an xyxy box, normalised, and its issues as (kind, detail).

    As annotated, the box is in px, or `normalised`, in fractions of the image of `size` (height, width), px.
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


def _duplicate_boxes(example: Example) -> list[Issue]:
    first: dict[tuple[str, Box], int] = {}
    issues = []
    for number, annotation in enumerate(example.objects, start=1):
        earlier = first.setdefault((annotation.name, annotation.box), number)
        if earlier != number:
            detail = f"{annotation.name}, as object {earlier}"
            issues.append(Issue("duplicate box", example.source, detail, number, image_name(example)))
    return issues
