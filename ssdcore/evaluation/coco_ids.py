"""Numbers of images and classes in COCO's files."""

from collections.abc import Sequence

from ssdcore.params.class_names import COCO

_COCO_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
_MAX_DIGITS = 15  # so that the number is exact in every program


def image_ids(names: Sequence[str]) -> list[int]:
    """The numbers that the names of images are, as in COCO and VOC 2007; 1, 2, ... where they are none."""
    numbers = [int(name) for name in names if name.isascii() and name.isdecimal() and len(name) <= _MAX_DIGITS]
    are_ids = len(set(numbers)) == len(names)
    return numbers if are_ids else list(range(1, len(names) + 1))


def category_ids(classes: Sequence[str]) -> list[int]:
    """1..C; for COCO's own classes in their order the 80 of its 90 numbers that are in use."""
    if tuple(classes) == COCO:
        return [number for number in range(1, 91) if number not in _COCO_GAPS]
    return list(range(1, len(classes) + 1))
