"""Validates labelled images: which boxes can be used, and what is wrong with the data before training."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from ssdcore.data.annotations import ISSUE_KINDS, Annotation, Box, Example, Issue, LabelledSet
from ssdcore.data.images import ImageError, UprightImage, make_upright
from ssdcore.errors import did_you_mean
from ssdcore.params.class_names import UNLABELLED
from ssdcore.types import OnProgress

TOLERANCE = 1.0
"""Px by which a box may exceed the image without an issue; many tools count from 1."""

NESTED_SPLITS = ({"trainval", "train"}, {"trainval", "val"})
"""Splits that share images by definition."""

RARE = 0.02
"""A class with less than this fraction of a similarly named one's objects may be a misspelling of it."""


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


@dataclass(frozen=True)
class SplitStatistics:
    """Counts of one split. `sides` are the 5, 50 and 95 % quantiles of sqrt(box area / image area)."""

    images: int
    without_objects: int
    objects: int
    difficult: int
    crowd: int
    per_class: Mapping[str, int]
    sides: tuple[float, ...] | None


@dataclass(frozen=True)
class CheckReport:
    """Issues and statistics of a labelled set.

    Attributes:
        format: of the annotations.
        splits: statistics of usable objects, by split.
        issues: worst kind first.
    """

    format: str
    splits: Mapping[str, SplitStatistics]
    issues: tuple[Issue, ...]

    def counts(self) -> dict[str, int]:
        """Number of issues of each kind that occurs, worst first."""
        return dict(Counter(issue.kind for issue in self.issues))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": self.format,
            "splits": {name: vars(split) for name, split in self.splits.items()},
            "counts": self.counts(),
            "issues": [{**vars(issue), "file": str(issue.file)} for issue in self.issues],
        }


def check(
    labelled: LabelledSet,
    classes: Sequence[str] | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> CheckReport:
    """Decodes every image and checks every box.

    `classes` are the names that objects may have; None takes the format's, or allows all.
    """
    allowed = classes if classes is not None else labelled.classes
    examples = {example.name: example for split in labelled.splits.values() for example in split}
    checked: dict[str, _Checked] = {}
    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter
        for done, one in enumerate(pool.map(lambda one: _check(one, allowed), examples.values()), start=1):
            checked[one.example.name] = one
            on_progress(done, len(examples))
    issues = [*labelled.issues, *(issue for one in checked.values() for issue in one.issues)]
    issues += _equal_images(labelled, checked)
    issues += _misspelt(examples.values()) if allowed is None else []
    issues.sort(key=lambda issue: (list(ISSUE_KINDS).index(issue.kind), str(issue.file), issue.object or 0))
    splits = {name: _statistics([checked[one.name] for one in split]) for name, split in labelled.splits.items()}
    return CheckReport(labelled.format, splits, tuple(issues))


class _Checked(NamedTuple):
    """A validated example without its pixels; `digest`: of the image, None if it cannot be used."""

    example: Example
    issues: tuple[Issue, ...]
    objects: tuple[ValidBox, ...]
    digest: str | None


def _check(example: Example, classes: Sequence[str] | None) -> _Checked:
    image, objects, issues = validate(example, classes)
    return _Checked(example, issues, objects, hashlib.sha256(image.encoded).hexdigest() if image else None)


def _statistics(checked: Sequence[_Checked]) -> SplitStatistics:
    objects = [item for one in checked for item in one.objects]
    boxes = np.array([item.box for item in objects]).reshape(-1, 4)
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return SplitStatistics(
        images=len(checked),
        without_objects=sum(not one.objects for one in checked),
        objects=len(objects),
        difficult=sum(item.annotation.difficult for item in objects),
        crowd=sum(item.annotation.crowd for item in objects),
        per_class=dict(Counter(item.annotation.name for item in objects).most_common()),
        sides=tuple(np.quantile(sides, (0.05, 0.5, 0.95)).tolist()) if len(sides) else None,
    )


def _equal_images(labelled: LabelledSet, checked: Mapping[str, _Checked]) -> list[Issue]:
    """Duplicate images, and images that are in two splits of which one is used to score training on the other."""
    splits: dict[str, set[str]] = defaultdict(set)
    for name, members in labelled.splits.items():
        for example in members:
            splits[example.name].add(name)
    groups: dict[str, list[_Checked]] = defaultdict(list)
    for one in checked.values():
        groups[one.digest or one.example.name].append(one)
    issues = []
    for first, *others in groups.values():
        detail = f"the same image as {first.example.image.path.name}"
        issues += [Issue("duplicate image", other.example.image.path, detail) for other in others]
        pairs = combinations(sorted(set().union(*(splits[one.example.name] for one in (first, *others)))), 2)
        if leaks := [f"{one} and {two}" for one, two in pairs if {one, two} not in NESTED_SPLITS]:
            issues.append(Issue("in two splits", first.example.image.path, "; ".join(leaks)))
    return issues


def _misspelt(examples: Iterable[Example]) -> list[Issue]:
    """Rare classes whose name is close to that of a frequent one."""
    counts: Counter[str] = Counter()
    first: dict[str, tuple[Example, int]] = {}
    for example in examples:
        for number, item in enumerate(example.objects, start=1):
            counts[item.name] += 1
            first.setdefault(item.name, (example, number))
    issues = []
    for name, count in counts.items():
        frequent = [other for other in counts if other != name and count < RARE * counts[other]]
        near = get_close_matches(name.casefold(), {other.casefold(): other for other in frequent}, n=1, cutoff=0.6)
        if near:
            example, number = first[name]
            meant = next(other for other in frequent if other.casefold() == near[0])
            detail = f"{name!r} ({count} objects) is close to {meant!r} ({counts[meant]})"
            issues.append(Issue("likely misspelt class", example.source, detail, number, image_name(example)))
    return issues
