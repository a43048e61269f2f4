"""The contents of a folder of TFRecords: `manifest.json`, and the shards that it names; without TensorFlow."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from ssdcore.data.formats.record_files import frames_of
from ssdcore.errors import DataError, did_you_mean
from ssdcore.files import write_atomic

MANIFEST = "manifest.json"


class Split(BaseModel, frozen=True):
    """The shards of a split, their sizes in bytes and SHA-256 digests, and what they hold."""

    shards: tuple[str, ...]
    sizes: tuple[int, ...]
    digests: tuple[str, ...] = ()
    images: int
    objects: int


class Manifest(BaseModel, frozen=True):
    """Class names 1..C in order, the splits, and what conversion did to boxes and images.

    `source` is a digest of all images and annotations that were converted; `issues` counts issues
    by kind; `dropped` names the boxes and images left out.
    """

    format: int = 1
    classes: tuple[str, ...]
    splits: dict[str, Split]
    source: str = ""
    issues: dict[str, int] = {}
    dropped: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads a folder's manifest.

        Raises:
            DataError: the folder or its manifest is missing or damaged.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            raise DataError(f"there is no data folder {folder.absolute()}", "no_data_folder")
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError:
            message = f"{folder.absolute()} has no {MANIFEST}: it is not a folder of records"
            raise DataError(message, "not_records", folder=folder) from None
        except ValidationError:
            raise DataError(f"{path.absolute()} is damaged; convert the data again") from None

    def save(self, folder: Path) -> None:
        """Writes the manifest into a folder, atomically."""
        write_atomic(folder / MANIFEST, self.model_dump_json(indent=2).encode() + b"\n")

    def split(self, name: str) -> Split:
        """The split called `name`.

        Raises:
            DataError: there is none.
        """
        if name not in self.splits:
            raise DataError(f"the data has no split {name!r}; {did_you_mean(name, self.splits)}")
        return self.splits[name]

    def train_split(self, name: str | None) -> str:
        """The split to train on: `name`, else trainval, else train.

        Raises:
            DataError: there is none.
        """
        return self._existing(name, ("trainval", "train"), "data.train_split")

    def eval_split(self, name: str | None, train: str) -> str:
        """The split to evaluate on: `name`; else, if `train` is the training split, val or test; else test or val.

        Raises:
            DataError: there is none.
        """
        usual = ("val", "test") if train == "train" else ("test", "val")
        return self._existing(name, usual, "data.eval_split")

    def _existing(self, name: str | None, usual: Sequence[str], key: str) -> str:
        found = next((one for one in usual if one in self.splits), None) if name is None else name
        if found is None:
            raise DataError(
                f"the data has the splits {', '.join(self.splits)}, none of them called {' or '.join(usual)}; "
                f"choose one with {key}=NAME"
            )
        self.split(found)
        return found

    def altered_shards(self, folder: Path) -> list[str]:
        """The shards whose digests differ from the manifest's, each with what is wrong; reads all files."""
        if any(len(split.digests) != len(split.shards) for split in self.splits.values()):
            raise DataError(f"{folder.absolute()} has no digests to compare its shards with; convert the data again")
        return [
            f"{shard} {'is missing' if found is None else 'was changed after it was written'}"
            for split in self.splits.values()
            for shard, digest in zip(split.shards, split.digests, strict=True)
            if (found := file_digest(folder / shard)) != digest
        ]


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file; None if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def digest_of(parts: Iterable[str]) -> str:
    """SHA-256 of several texts in order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def shard_paths(folder: Path, split: str) -> list[Path]:
    """The shards of a split, verified by size.

    Raises:
        DataError: the folder, split or a shard is missing or has another size, or the split is empty.
    """
    entry = Manifest.load(folder).split(split)
    paths = [folder / shard for shard in entry.shards]
    for path, size in zip(paths, entry.sizes, strict=True):
        if not path.is_file():
            raise DataError(f"{path.absolute()} is missing; convert the data again")
        if (found := path.stat().st_size) != size:
            raise DataError(
                f"{path.absolute()} is damaged: it has {found} bytes, it was written with {size}; "
                "convert the data again"
            )
    if entry.images == 0:
        raise DataError(f"the split {split!r} of {folder.absolute()} holds no images")
    return paths


def shard_frames(path: Path) -> list[tuple[int, int]]:
    """Offset and length of each record's content, in bytes.

    Raises:
        DataError: the file is damaged.
    """
    frames, problem = frames_of(path)
    if problem:
        reason = str(problem).partition(";")[0]
        raise DataError(f"{path.absolute()} is damaged: {reason}; convert the data again")
    return frames


def check_count(folder: Path, split: str, count: int) -> None:
    """Raises DataError if the shards of a split hold another number of records than its manifest says."""
    images = Manifest.load(folder).split(split).images
    if count != images:
        raise DataError(
            f"the split {split!r} of {folder.absolute()} is damaged: its shards hold {count} images, "
            f"its manifest says {images}; convert the data again"
        )
