"""Checked values from annotation files: numbers must be finite, names printable, counts bounded."""

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeGuard, TypeVar

from ssdcore.data.annotations import Issue

MAX_OBJECTS = 10_000
"""Limit for one image."""

T = TypeVar("T")
R = TypeVar("R")


class AnnotationError(Exception):
    """One annotation cannot be read; readers turn it into an `Issue` and continue."""

    def __init__(self, detail: str, kind: str = "unreadable annotation") -> None:
        super().__init__(detail)
        self.kind = kind

    def issue(self, file: Path, number: int | None = None) -> Issue:
        """This error as an issue of a file's object `number`."""
        return Issue(self.kind, file, str(self), number)


def read_each(items: Iterable[T], read: Callable[[T], R], file: Path) -> tuple[list[R], list[Issue]]:
    """What `read` makes of each item of a file, and the issues of those it cannot read, numbered from 1 on."""
    values: list[R] = []
    issues = []
    for number, item in enumerate(items, start=1):
        try:
            values.append(read(item))
        except AnnotationError as error:
            issues.append(error.issue(file, number))
    return values, issues


def shown(value: object) -> str:
    """A value from a file, shortened for a message."""
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 80 else text[:77] + "..."


def number(value: object) -> float:
    """A finite number, given as a number or as text.

    Raises:
        AnnotationError: it is not one.
    """
    if isinstance(value, int | float | str) and not isinstance(value, bool) and "_" not in str(value):
        with suppress(ValueError, OverflowError):
            if math.isfinite(found := float(value)):
                return found
    raise AnnotationError(f"{shown(value)} is not a number")


def flag(value: object, name: str) -> bool:
    """0 or 1, false or true, as value or text; None and empty text are false.

    Raises:
        AnnotationError: it is none of these.
    """
    text = "" if value is None else str(value).strip().lower()
    if text in ("", "0", "false"):
        return False
    if text in ("1", "true"):
        return True
    raise AnnotationError(f"{name} is {shown(value)}, not 0 or 1")


def is_name(value: object) -> TypeGuard[str]:
    """Whether this can be a class name: text that is not blank and valid UTF-8."""
    return isinstance(value, str) and bool(value.strip()) and value == value.encode(errors="ignore").decode()


def image_size(height: object, width: object) -> tuple[int, int] | None:
    """Height and width, px; None if one is missing or not positive.

    Raises:
        AnnotationError: one is not a number.
    """
    sides = [0 if side in (None, "") else int(number(side)) for side in (height, width)]
    return (sides[0], sides[1]) if min(sides) > 0 else None


def check_object_count(count: int) -> None:
    """Raises AnnotationError if an image has more than `MAX_OBJECTS` objects."""
    if count > MAX_OBJECTS:
        raise AnnotationError(f"{count} objects, above the {MAX_OBJECTS} that are read", "too many objects")
