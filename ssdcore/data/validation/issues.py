"""The kinds of issues that data can have, what conversion does about each, and what a user can."""

from typing import Literal, NamedTuple

Effect = Literal["stops", "drops box", "cuts box", "repairs", "none"]


class Kind(NamedTuple):
    """What conversion does about an issue, and advice to the user.

    `effect`: `stops` conversion unless faulty images are left out on request; `drops box` and
    `cuts box` concern one box; `repairs` the image; `none`: the image and its boxes are used unchanged.
    """

    effect: Effect
    advice: str


KINDS: dict[str, Kind] = {
    "unreadable annotation": Kind("stops", "repair the file, or remove its image from the list"),
    "missing annotation": Kind("stops", "add the file, or remove its image from the list"),
    "missing image": Kind("stops", "add the file, or remove its name from the list"),
    "unreadable image": Kind("stops", "replace the file: it cannot be decoded completely"),
    "image too large": Kind("stops", "scale the image down"),
    "too many objects": Kind("stops", "check the file: no image has so many objects"),
    "unknown class": Kind("stops", "correct the annotation, or allow the class"),
    "swapped corners": Kind("drops box", "swap the minimum and the maximum"),
    "empty box": Kind("drops box", "redraw the box: it has no area"),
    "box outside": Kind("drops box", "redraw the box: it lies outside the image"),
    "box over the edge": Kind("cuts box", "nothing to do, unless it is far off"),
    "rotated by EXIF": Kind("repairs", "nothing to do: conversion turns it upright"),
    "unusual image": Kind("repairs", "nothing to do: conversion makes it 8-bit RGB"),
    "size mismatch": Kind("none", "make sure that boxes were drawn on this image, at this size"),
    "duplicate box": Kind("none", "remove one of the two"),
    "duplicate image": Kind("none", "remove one of the two"),
    "in two splits": Kind("none", "remove it from one of them: scores on training images say nothing"),
    "likely misspelt class": Kind("none", "rename the class if it is another spelling"),
}
"""Every kind of issue, worst first."""
