"""Makes the names of images unique."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ssdcore.data.annotations import Example, ImageSource

_Key = tuple[str, ImageSource]


def name_uniquely(splits: Mapping[str, Sequence[Example]]) -> dict[str, tuple[Example, ...]]:
    """Renames examples so that different images have different names.

    Clashing names get a prefix: the nearest parent folder in which their images differ, or the file if that
    holds many images. Those that still clash are numbered.
    """
    names = _unique_names({(example.name, example.image) for split in splits.values() for example in split})
    return {
        split: tuple(replace(example, name=names[example.name, example.image]) for example in examples)
        for split, examples in splits.items()
    }


def _unique_names(keys: set[_Key]) -> dict[_Key, str]:
    # File names that are not UTF-8 can be read as text, but not written as such.
    names = {
        key: key[0].encode(errors="replace").decode()
        for key in sorted(keys, key=lambda key: (key[0], key[1].path, key[1].offset))
    }
    parents = {key: _parents(key[1].path) for key in _clashing(names)}
    for depth in range(max(map(len, parents.values()), default=0)):
        groups: defaultdict[str, list[_Key]] = defaultdict(list)
        for key in _clashing(names):
            groups[names[key]].append(key)
        for group in groups.values():
            prefixes = {key: "".join(parents.get(key, ())[depth : depth + 1]) for key in group}
            if len(set(prefixes.values())) > 1:
                names.update({key: f"{prefix}_{names[key]}" for key, prefix in prefixes.items() if prefix})
    return _numbered(names)


def _clashing(names: Mapping[_Key, str]) -> list[_Key]:
    counts = Counter(names.values())
    return [key for key, name in names.items() if counts[name] > 1]


def _parents(path: Path) -> tuple[str, ...]:
    return (path.name.partition(".")[0], *reversed(path.absolute().parent.parts[1:]))


def _numbered(names: Mapping[_Key, str]) -> dict[_Key, str]:
    taken = set(names.values())
    numbers: Counter[str] = Counter()
    found = {}
    for key, name in names.items():
        numbers[name] += 1
        while numbers[name] > 1 and f"{name}_{numbers[name]}" in taken:
            numbers[name] += 1
        found[key] = name if numbers[name] == 1 else f"{name}_{numbers[name]}"
        taken.add(found[key])
    return found
