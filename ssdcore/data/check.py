"""Finds what is wrong with labelled pictures before anything is learnt from them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations
from typing import Any

import numpy as np

from ssdcore.data.examine import Examined, examine, named
from ssdcore.data.example import Example, Fault, LabelledSet
from ssdcore.data.faults import KINDS

NESTED_SPLITS = ({"trainval", "train"}, {"trainval", "val"})
"""Splits that share pictures by their meaning."""

RARE = 0.02
"""A class with less than this share of a similarly named one's objects may be a misspelling of it."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SplitStatistics:
    """Counts of one split. `sides` are the 5, 50 and 95 % quantiles of sqrt(box area / picture area)."""

    pictures: int
    without_objects: int
    objects: int
    difficult: int
    crowd: int
    per_class: Mapping[str, int]
    sides: tuple[float, float, float] | None


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        format: of the annotations.
        splits: statistics of usable objects, by split.
        faults: worst kind first.
    """

    format: str
    splits: Mapping[str, SplitStatistics]
    faults: tuple[Fault, ...]

    def counts(self) -> dict[str, int]:
        """Number of faults of each kind that occurs, worst first."""
        found = Counter(fault.kind for fault in self.faults)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": self.format,
            "splits": {name: vars(split) for name, split in self.splits.items()},
            "counts": self.counts(),
            "faults": [
                {
                    "kind": one.kind,
                    "file": str(one.file),
                    "picture": one.picture,
                    "object": one.object,
                    "detail": one.detail,
                }
                for one in self.faults
            ],
        }


def check(
    labelled: LabelledSet,
    classes: Sequence[str] | None = None,
    on_progress: Progress = lambda done, total: None,
) -> CheckReport:
    """Decodes every picture and looks at every box.

    Args:
        labelled: pictures and boxes.
        classes: names that objects may have; None takes the format's, or allows all.
        on_progress: called with pictures done and pictures in all.
    """
    allowed = classes if classes is not None else labelled.classes
    examples = {example.name: example for split in labelled.splits.values() for example in split}
    examined: dict[str, _Looked] = {}
    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter
        for done, found in enumerate(pool.map(lambda one: _look(one, allowed), examples.values()), start=1):
            examined[found.example.name] = found
            on_progress(done, len(examples))
    faults = [*labelled.faults, *(fault for found in examined.values() for fault in found.faults)]
    faults += _equal_pictures(labelled, examined)
    faults += _misspelt(examples.values()) if allowed is None else []
    order = list(KINDS)
    return CheckReport(
        format=labelled.format,
        splits={
            name: _statistics([examined[example.name] for example in split]) for name, split in labelled.splits.items()
        },
        faults=tuple(sorted(faults, key=lambda fault: (order.index(fault.kind), str(fault.file), fault.object or 0))),
    )


@dataclass(frozen=True)
class _Looked:
    """An example after a look at it, without the pixels."""

    example: Example
    faults: tuple[Fault, ...]
    objects: tuple[Any, ...]
    digest: str | None


def _look(example: Example, classes: Sequence[str] | None) -> _Looked:
    found: Examined = examine(example, classes)
    digest = hashlib.sha256(found.picture.encoded).hexdigest() if found.picture else None
    return _Looked(example, found.faults, found.objects, digest)


def _statistics(looked: Sequence[_Looked]) -> SplitStatistics:
    objects = [item for one in looked for item in one.objects]
    boxes = np.array([item.box for item in objects]).reshape(-1, 4)
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    low, middle, high = np.quantile(sides, (0.05, 0.5, 0.95)).tolist() if len(sides) else (0, 0, 0)
    return SplitStatistics(
        pictures=len(looked),
        without_objects=sum(not one.objects for one in looked),
        objects=len(objects),
        difficult=sum(item.annotation.difficult for item in objects),
        crowd=sum(item.annotation.crowd for item in objects),
        per_class=dict(Counter(item.annotation.name for item in objects).most_common()),
        sides=(low, middle, high) if len(sides) else None,
    )


def _equal_pictures(labelled: LabelledSet, looked: Mapping[str, _Looked]) -> list[Fault]:
    """Pictures that are there twice, and pictures of two splits of which one is to judge the other."""
    splits: dict[str, set[str]] = defaultdict(set)
    for name, members in labelled.splits.items():
        for example in members:
            splits[example.name].add(name)
    groups: dict[str, list[_Looked]] = defaultdict(list)
    for one in looked.values():
        groups[one.digest or one.example.name].append(one)
    faults = []
    for group in groups.values():
        first, *others = group
        for other in others:
            detail = f"the same picture as {first.example.picture.path.name}"
            faults.append(Fault("duplicate picture", other.example.picture.path, detail))
        leaks = _leaks(set().union(*(splits[one.example.name] for one in group)))
        if leaks:
            faults.append(Fault("in two splits", first.example.picture.path, "; ".join(leaks)))
    return faults


def _leaks(splits: Iterable[str]) -> list[str]:
    return [f"{one} and {two}" for one, two in combinations(sorted(splits), 2) if {one, two} not in NESTED_SPLITS]


def _misspelt(examples: Iterable[Example]) -> list[Fault]:
    """Rare classes whose name is close to that of a frequent one."""
    counts: Counter[str] = Counter()
    first: dict[str, tuple[Example, int]] = {}
    for example in examples:
        for number, item in enumerate(example.objects, start=1):
            counts[item.name] += 1
            first.setdefault(item.name, (example, number))
    faults = []
    for name, count in counts.items():
        frequent = [other for other in counts if other != name and count < RARE * counts[other]]
        near = get_close_matches(name.casefold(), {other.casefold(): other for other in frequent}, n=1, cutoff=0.6)
        if near:
            example, number = first[name]
            meant = next(other for other in frequent if other.casefold() == near[0])
            detail = f"{name!r} ({count} objects) is close to {meant!r} ({counts[meant]})"
            faults.append(Fault("likely misspelt class", example.source, detail, number, named(example)))
    return faults
