"""Label maps beside TFRecords: the Object Detection API's `.pbtxt`, and `labels.txt`."""

import re
from pathlib import Path

from ssdcore.data.formats.paths import files_like, read_text
from ssdcore.data.formats.values import AnnotationError
from ssdcore.errors import DataError

_MAX_BYTES = 2**20
_ITEM = re.compile(r"\bitem\s*\{([^{}]*)\}")
_ITEM_START = re.compile(r"\bitem\s*\{")
_FIELD = re.compile(r"""\b(id|name|display_name)\s*:\s*(?:(\d{1,9})\b|'([^'\n]*)'|"([^"\n]*)")""")
_NUMBERED = re.compile(r"(\d{1,9})\s*:\s*(\S.*)")
BACKGROUND = ("background", "none", "???", "__background__", "_background_")


def read_label_map(folder: Path) -> dict[int, str] | None:
    """Names by id from `label_map.pbtxt`, else the only `*label_map.pbtxt`, else `labels.txt`; None if there is none.

    Raises:
        DataError: it cannot be read, or names no class.
    """
    files = files_like(folder, "label_map.pbtxt") or files_like(folder, "*label_map.pbtxt")
    if len(files) > 1:
        raise DataError(f"{folder.absolute()} has several label maps; name the right one label_map.pbtxt")
    files = files or files_like(folder, "labels.txt")
    if not files:
        return None
    try:
        text = read_text(files[0], _MAX_BYTES)
    except AnnotationError as error:
        raise DataError(f"{files[0].absolute()} is not a label map: {error}") from None
    names = _items(text) if files[0].suffix == ".pbtxt" else _lines(text)
    if not names:
        raise DataError(f"{files[0].absolute()} names no classes; correct or remove it")
    return names


def _items(text: str) -> dict[int, str]:
    """`item { id: 1 name: 'cat' }`; records use the `display_name` if there is one."""
    items = _ITEM.findall(text)
    if len(items) != len(_ITEM_START.findall(text)):
        return {}  # an incomplete map would give wrong names
    found = {}
    for item in items:
        fields = {key: number or single or double for key, number, single, double in _FIELD.findall(item)}
        name = fields.get("display_name") or fields.get("name")
        if name and fields.get("id", "").isdigit():
            found[int(fields["id"])] = name
    return found


def _lines(text: str) -> dict[int, str]:
    """Lines `1:cat`, or names from id 1 on; a name of the background has id 0."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    numbered = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    if len(numbered) == len(lines):
        return {int(match[1]): match[2] for match in numbered}
    first = 0 if lines[0].lower() in BACKGROUND else 1
    return dict(enumerate(lines, start=first))
