"""Finds what is wrong with labelled images before training."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from ssdcore.data.annotations import ISSUE_KINDS, Example, Issue, LabelledSet
from ssdcore.data.validation.validate import ValidBox, image_name, validate
from ssdcore.types import OnProgress

NESTED_SPLITS = ({"trainval", "train"}, {"trainval", "val"})
"""Splits that share images by definition."""

RARE = 0.02
"""A class with less than this fraction of a similarly named one's objects may be a misspelling of it."""


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
