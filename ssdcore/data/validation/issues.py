"""The kinds of issues that data can have, what each means, and what conversion does about it."""

from typing import Literal, NamedTuple

Effect = Literal["stops", "drops box", "cuts box", "mends", "tells"]


class Kind(NamedTuple):
    """What conversion does about an issue, and what a user should know.

    `effect`: `stops` conversion unless faulty images are left out on request; `drops box` and
    `cuts box` concern one box; `mends` the image; `tells` changes nothing.
    """

    effect: Effect
    advice: str


KINDS: dict[str, Kind] = {
    "unreadable annotation": Kind("stops", "mend the file, or take its image off the list"),
    "missing annotation": Kind("stops", "add the file, or take its image off the list"),
    "missing image": Kind("stops", "add the file, or take its name off the list"),
    "unreadable image": Kind("stops", "replace the file: it cannot be decoded to its end"),
    "image too large": Kind("stops", "scale the image down"),
    "too many objects": Kind("stops", "look at the file: no image has so many objects"),
    "unknown class": Kind("stops", "correct the annotation, or add the class to --classes"),
    "swapped corners": Kind("drops box", "exchange the minimum and the maximum"),
    "empty box": Kind("drops box", "draw the box again: it has no area"),
    "box outside": Kind("drops box", "draw the box again: it lies outside the image"),
    "box over the edge": Kind("cuts box", "nothing to do, unless it is off by much"),
    "rotated by EXIF": Kind("mends", "nothing to do: it is turned upright when converted"),
    "unusual image": Kind("mends", "nothing to do: it is converted to 8-bit RGB"),
    "size mismatch": Kind("tells", "make sure that boxes were drawn on this image, at this size"),
    "duplicate box": Kind("tells", "remove one of the two"),
    "duplicate image": Kind("tells", "remove one of the two"),
    "in two splits": Kind("tells", "remove it from one of them: the score on it says nothing"),
    "likely misspelt class": Kind("tells", "rename the class if it is another spelling"),
}
"""Every kind of issue, worst first."""
