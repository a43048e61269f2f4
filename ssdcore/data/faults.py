"""The kinds of faults that data can have, what each means, and what conversion does about it."""

from typing import Literal, NamedTuple

Effect = Literal["stops", "drops box", "cuts box", "mends", "tells"]


class Kind(NamedTuple):
    """What conversion does about a fault, and what a user should know.

    `effect`: `stops` conversion unless faulty pictures are left out on request; `drops box` and
    `cuts box` concern one box; `mends` the picture; `tells` changes nothing.
    """

    effect: Effect
    advice: str


KINDS: dict[str, Kind] = {
    "unreadable annotation": Kind("stops", "mend the file, or take its picture off the list"),
    "missing annotation": Kind("stops", "add the file, or take its picture off the list"),
    "missing picture": Kind("stops", "add the file, or take its name off the list"),
    "unreadable picture": Kind("stops", "replace the file: it cannot be decoded to its end"),
    "picture too large": Kind("stops", "scale the picture down"),
    "too many objects": Kind("stops", "look at the file: no picture has so many objects"),
    "unknown class": Kind("stops", "correct the annotation, or add the class to --classes"),
    "swapped corners": Kind("drops box", "exchange the minimum and the maximum"),
    "empty box": Kind("drops box", "draw the box again: it has no area"),
    "box outside": Kind("drops box", "draw the box again: it lies outside the picture"),
    "box over the edge": Kind("cuts box", "nothing to do, unless it is off by much"),
    "rotated by EXIF": Kind("mends", "nothing to do: it is turned upright when converted"),
    "unusual picture": Kind("mends", "nothing to do: it is converted to 8-bit RGB"),
    "size mismatch": Kind("tells", "make sure that boxes were drawn on this picture, at this size"),
    "duplicate box": Kind("tells", "remove one of the two"),
    "duplicate picture": Kind("tells", "remove one of the two"),
    "in two splits": Kind("tells", "remove it from one of them: the score on it says nothing"),
    "likely misspelt class": Kind("tells", "rename the class if it is another spelling"),
}
"""Every kind of fault, worst first."""
