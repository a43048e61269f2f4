"""Names that parameters used to have, so that older files, overrides and checkpoints keep loading."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

RENAMED_KEYS = {"train.pictures": "train.augmentation_images"}
"""Former key -> present key, in the same section."""

RENAMED_VALUES = {"train.loss.mining": {"picture": "image"}}
"""Key -> former value -> present value."""


def current_key(key: str) -> str:
    """The present name of a dotted key."""
    return RENAMED_KEYS.get(key, key)


def with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of a param set under present names. A former name beside the present one stays, as unknown."""
    current = deepcopy(dict(values))
    for old, new in RENAMED_KEYS.items():
        section, name = _section(current, old)
        present = new.rpartition(".")[2]
        if name in section and present not in section:
            section[present] = section.pop(name)
    for key, renamed in RENAMED_VALUES.items():
        section, name = _section(current, key)
        value = section.get(name)
        if isinstance(value, str):
            section[name] = renamed.get(value, value)
    return current


def _section(values: Any, key: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds a dotted key, empty if there is none; and the last part of the key."""
    *path, name = key.split(".")
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return (values if isinstance(values, dict) else {}), name
