"""Class surgery: adapts a class head to other classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import CheckpointError
from ssdcore.params.class_names import COCO, PASCAL_VOC, same_name

Array = NDArray[Any]


@dataclass(frozen=True)
class ClassTransfer:
    """How class channels of a file map to those of a detector.

    Attributes:
        indices: for each class of the detector, background first, its index in the file; None: new.
        count: classes in the file, with background.
        kept, new, dropped: names, in order; `dropped` are the file's.
    """

    indices: tuple[int | None, ...]
    count: int
    kept: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]


def transfer_classes(there: Sequence[str], here: Sequence[str]) -> ClassTransfer:
    """Matches the detector's classes `here` with the file's classes `there`, by name."""
    exact = {name: index for index, name in enumerate(there, start=1)}
    alike = {same_name(name): index for name, index in reversed(exact.items())}
    found = [exact.get(name) or alike.get(same_name(name)) for name in here]
    return ClassTransfer(
        indices=(0, *found),
        count=len(there) + 1,
        kept=tuple(name for name, index in zip(here, found, strict=True) if index),
        new=tuple(name for name, index in zip(here, found, strict=True) if not index),
        dropped=tuple(name for index, name in enumerate(there, start=1) if index not in found),
    )


def move_channels(values: Array, initial: Array, transfer: ClassTransfer) -> Array:
    """The weights of a class head, rearranged for other classes.

    Args:
        values: (..., boxes * classes) kernel or bias of the file, background first.
        initial: (..., boxes * classes') of the detector; kept for new classes.
        transfer: the mapping.

    Raises:
        ValueError: the shapes differ in more than the classes.
    """
    given = values.reshape(*values.shape[:-1], -1, transfer.count)
    wanted = np.array(initial).reshape(*initial.shape[:-1], -1, len(transfer.indices))
    if given.shape[:-1] != wanted.shape[:-1]:
        raise ValueError(f"a head of shape {values.shape} does not fit one of shape {initial.shape} with other classes")
    for index, there in enumerate(transfer.indices):
        if there is not None:
            wanted[..., index] = given[..., there]
    return wanted.reshape(initial.shape)


def name_classes(
    count: int, stated: Sequence[str] | None, carried: Sequence[str] | None, here: Sequence[str]
) -> Sequence[str]:
    """The names of a file's classes.

    Args:
        count: how many its heads have, without background.
        stated: names given by the user.
        carried: names in the file.
        here: the detector's classes, assumed to be the file's if nothing else is known and their number matches.

    Raises:
        CheckpointError: the number of given names differs, or the names are unknown.
    """
    if stated is not None and len(stated) != count:
        raise CheckpointError(
            f"the file's heads predict {count} classes, but {len(stated)} names were given for them "
            f"({', '.join(stated):.80}); name all of them, in their order and without background"
        )
    well_known = {len(names): names for names in (PASCAL_VOC, COCO)}
    others = count in well_known and len(here) == count and not transfer_classes(well_known[count], here).kept
    names = stated or carried or well_known.get(count) or (here if len(here) == count else None)
    if names is None or (others and not (stated or carried)):  # as many as VOC has, but other classes: ambiguous
        raise CheckpointError(
            f"the file's heads predict {count} classes that it does not name; name them in their order without "
            "background (train.weights.classes=[a,b])"
        )
    return names
