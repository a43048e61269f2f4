"""Finds and verifies the shards of a split, without TensorFlow."""

from pathlib import Path

from ssdcore.data.formats.record_files import frames_of
from ssdcore.data.records.manifest import Manifest
from ssdcore.errors import DataError


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
