"""Divides images into random splits, stratified by class, with equal images kept together."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ssdcore.data.annotations import Example, LabelledSet
from ssdcore.errors import DataError, ParamError

UNDIVIDED = "all"
"""Name of the only split of a format that has no lists."""

DEFAULT_FRACTIONS = (0.8, 0.2)
_NAMES = {2: ("trainval", "test"), 3: ("train", "val", "test")}


def parse_fractions(text: str) -> tuple[float, ...]:
    """`0.8/0.2` or `0.8/0.1/0.1` as numbers.

    Raises:
        ParamError: these are not two or three positive numbers that add up to 1.
    """
    try:
        fractions = tuple(float(part) for part in text.split("/"))
    except ValueError:
        fractions = ()
    if len(fractions) not in _NAMES or not all(one > 0 for one in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ParamError(
            f"a split is two or three fractions that add up to 1, such as 0.8/0.2 or 0.8/0.1/0.1, not {text!r}"
        )
    return fractions


def divide(labelled: LabelledSet, fractions: Sequence[float], seed: int) -> LabelledSet:
    """The same images in new splits: trainval and test, or train, val and test.

    Images are dealt out class by class, rarest first, so that each split gets its fraction of each.
    Images with the same bytes go into the same split: a score on training images would say nothing.
    There are two or three `fractions`; the same seed gives the same splits.

    Raises:
        DataError: there are fewer images than splits.
    """
    unique = {example.name: example for split in labelled.splits.values() for example in split}
    examples = [unique[name] for name in sorted(unique)]
    if len(examples) < len(fractions):
        raise DataError(f"{labelled.root.absolute()} has {len(examples)} images, too few for {len(fractions)} splits")
    groups = _equal_images(examples)
    order = np.random.default_rng(seed).permutation(len(groups))
    images = Counter(name for example in examples for name in {item.name for item in example.objects})
    # An image counts for its rarest class.
    ranked = sorted(((_rarest(groups[i][0], images), groups[i]) for i in order), key=lambda pair: pair[0])
    totals = Counter(name for (_, name), group in ranked for _ in group)
    splits: dict[str, list[Example]] = {name: [] for name in _NAMES[len(fractions)]}
    dealt: Counter[tuple[str, str]] = Counter()
    for (_, rarest), group in ranked:
        ranks = []  # first splits without their quota of the class, rounded down, then up; 1e-9 is for 0.1 * 30
        for split, fraction in zip(splits, fractions, strict=True):
            done, quota = dealt[split, rarest], fraction * totals[rarest]
            filled = done >= math.floor(quota + 1e-9), done >= math.ceil(quota - 1e-9)
            ranks.append((filled, (len(splits[split]) + 1) / fraction))
        emptiest = list(splits)[ranks.index(min(ranks))]
        splits[emptiest] += group
        dealt[emptiest, rarest] += len(group)
    divided = {name: tuple(sorted(members, key=lambda one: one.name)) for name, members in splits.items()}
    return replace(labelled, splits=divided)


def _rarest(example: Example, images: Mapping[str, int]) -> tuple[int, str]:
    """How many images show the rarest class of this one, and its name; an image without objects sorts last."""
    return min(((images[item.name], item.name) for item in example.objects), default=(sum(images.values()) + 1, ""))


def _equal_images(examples: Sequence[Example]) -> list[list[Example]]:
    """Groups of images of the same bytes; an unreadable image equals no other."""
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        key = example.name
        with suppress(OSError):
            key = hashlib.sha256(example.image.read()).hexdigest()
        groups[key].append(example)
    return list(groups.values())
