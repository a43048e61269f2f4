"""Divides images into splits at random, with the classes in proportion and equal images together."""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ssdcore.data.annotations import Example, LabelledSet
from ssdcore.errors import DataError, ParamError

UNDIVIDED = "all"
"""Name of the only split of a format that has no lists."""

DEFAULT_SHARES = (0.8, 0.2)
_NAMES = {2: ("trainval", "test"), 3: ("train", "val", "test")}


def parse_shares(text: str) -> tuple[float, ...]:
    """`0.8/0.2` or `0.8/0.1/0.1` as numbers.

    Raises:
        ParamError: these are not two or three positive numbers that add up to 1.
    """
    try:
        shares = tuple(float(part) for part in text.split("/"))
    except ValueError:
        shares = ()
    if len(shares) not in _NAMES or not all(share > 0 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise ParamError(
            f"a split is two or three shares that add up to 1, such as 0.8/0.2 or 0.8/0.1/0.1, not {text!r}"
        )
    return shares


def divide(labelled: LabelledSet, shares: Sequence[float], seed: int) -> LabelledSet:
    """The same images in new splits: trainval and test, or train, val and test.

    Images are dealt out class by class, rarest first, so that each split gets its share of each.
    Images with the same bytes go into the same split, since a score on images that were learnt
    says nothing.

    Args:
        labelled: images; its own splits are forgotten.
        shares: of the new splits; two or three.
        seed: the same seed divides alike.

    Raises:
        DataError: there are fewer images than splits.
    """
    unique = {example.name: example for split in labelled.splits.values() for example in split}
    examples = [unique[name] for name in sorted(unique)]
    if len(examples) < len(shares):
        raise DataError(f"{labelled.root.absolute()} has {len(examples)} images, too few for {len(shares)} splits")
    groups = _equal_images(examples)
    order = np.random.default_rng(seed).permutation(len(groups))
    images = Counter(name for example in examples for name in {item.name for item in example.objects})
    splits: dict[str, list[Example]] = {name: [] for name in _NAMES[len(shares)]}
    dealt: Counter[tuple[str, str]] = Counter()
    ranked = [(_rarest(groups[index][0], images), groups[index]) for index in order]
    totals = Counter(name for (_, name), group in ranked for _ in group)
    for (_, rarest), group in sorted(ranked, key=_first):
        wanting = min(
            zip(splits, shares, strict=True),
            key=lambda split: (
                *_filled(dealt[split[0], rarest], split[1] * totals[rarest]),
                (len(splits[split[0]]) + 1) / split[1],
            ),
        )[0]
        splits[wanting] += group
        dealt[wanting, rarest] += len(group)
    inside = {name: tuple(sorted(members, key=lambda one: one.name)) for name, members in splits.items()}
    return replace(labelled, splits=inside)


def _filled(dealt: int, quota: float) -> tuple[bool, bool]:
    """Whether a split has its share of a class, rounded down and up; 1e-9 is for 0.1 * 30."""
    return dealt >= math.floor(quota + 1e-9), dealt >= math.ceil(quota - 1e-9)


def _first(pair: tuple[tuple[int, str], list[Example]]) -> tuple[int, str]:
    return pair[0]


def _rarest(example: Example, images: Mapping[str, int]) -> tuple[int, str]:
    """The rarest class of an image, behind the number of images that show it; none comes last."""
    return min(((images[item.name], item.name) for item in example.objects), default=(sum(images.values()) + 1, ""))


def _equal_images(examples: Sequence[Example]) -> list[list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(image_hash(example), []).append(example)
    return list(groups.values())


def image_hash(example: Example) -> str:
    """Equal for images of the same bytes; an image that cannot be read equals no other one."""
    try:
        return hashlib.sha256(example.image.read()).hexdigest()
    except OSError:
        return example.name
