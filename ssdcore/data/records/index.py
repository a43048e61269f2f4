"""Where each record of a split lies, so that any of them can be read by itself."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from ssdcore.data.formats.record_files import HEADER_BYTES, frames_of
from ssdcore.data.records.manifest import Manifest
from ssdcore.errors import DataError

Tensor = Any


class Places(NamedTuple):
    """Where records lie: `files` (N,) object, their paths as bytes; `offsets` (N,) int64, bytes."""

    files: NDArray[np.object_]
    offsets: NDArray[np.int64]


class RecordIndex:
    """The records of some TFRecord files, numbered from 0 on in the order of the files.

    Only the 12 bytes before each record are read to find them.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Finds the records.

        Args:
            paths: the files, not compressed.

        Raises:
            DataError: what should be a record in a file is none, or is cut off.
        """
        self._paths = tuple(paths)
        frames = [np.array(_frames(path), np.int64).reshape(-1, 2) for path in paths]
        self._files = np.repeat(np.arange(len(frames)), [len(found) for found in frames])
        self._offsets, self._lengths = np.concatenate(frames).T
        self._encoded = np.array([os.fsencode(path) for path in paths], object)

    @classmethod
    def of_split(cls, folder: Path, split: str) -> Self:
        """The records of a split of converted data.

        Raises:
            DataError: the folder, the split or a shard is missing or damaged, or the split is empty.
        """
        index = cls(shard_paths(folder, split))
        images = Manifest.load(folder).split(split).images
        if len(index) != images:
            raise DataError(
                f"the split {split!r} of {folder.absolute()} is damaged: its shards hold {len(index)} images, "
                f"its manifest says {images}; convert the data again"
            )
        return index

    def __len__(self) -> int:
        return len(self._offsets)

    def places(self, numbers: NDArray[np.int64]) -> Places:
        """Where records (N,) lie."""
        return Places(self._encoded[self._files[numbers]], self._offsets[numbers])

    def read(self, number: int) -> bytes:
        """The content of a record, once it agrees with its checksum; may be called from any thread.

        Raises:
            tf.errors.OpError: it does not agree, or cannot be read.
        """
        content: bytes = read_at(os.fsencode(self.path(number)), self._offsets[number]).numpy()
        return content

    def path(self, number: int) -> Path:
        """The file that holds a record."""
        return self._paths[self._files[number]]

    def name(self, number: int) -> str:
        """The name of a record's image, or the file and the place in it, from 1 on, if it has none to be read."""
        with self.path(number).open("rb") as file:  # a wrong checksum is no reason not to tell the name
            file.seek(self._offsets[number] + HEADER_BYTES)
            content = file.read(self._lengths[number])
        try:
            values = tf.train.Example.FromString(content).features.feature["image/filename"].bytes_list.value
        except DecodeError:
            values = []
        if values and values[0]:
            return str(values[0].decode(errors="backslashreplace"))
        place = number - int(np.searchsorted(self._files, self._files[number])) + 1
        return f"{self.path(number).name}, record {place}"


def read_at(file: Tensor, offset: Tensor) -> Tensor:
    """The content () string of the record at an offset () int64, bytes, of a file () string.

    It is compared with its checksum. This reads within a graph, without Python, as `TFRecordDataset`
    cannot begin at an offset.
    """
    dataset = tf.raw_ops.TFRecordDatasetV2(
        filenames=[file], compression_type="", buffer_size=0, byte_offsets=[tf.cast(offset, tf.int64)]
    )
    records = tf.data.experimental.from_variant(dataset, tf.TensorSpec([], tf.string))
    return records.take(1).get_single_element()


def shard_paths(folder: Path, split: str) -> list[Path]:
    """The shards of a split, as large as they were written.

    Raises:
        DataError: the folder, split or a shard is missing or has another size, or the split is empty.
    """
    entry = Manifest.load(folder).split(split)
    paths = [folder / shard for shard in entry.shards]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0].absolute()} is missing; convert the data again")
    for path, size in zip(paths, entry.sizes, strict=True):
        if path.stat().st_size != size:
            found = path.stat().st_size
            raise DataError(f"{path.absolute()} has {found} bytes, it was written with {size}; convert the data again")
    if entry.images == 0:
        raise DataError(f"the split {split!r} of {folder.absolute()} holds no images")
    return paths


def _frames(path: Path) -> list[tuple[int, int]]:
    """Offset of each record and length of its content, in bytes."""
    frames, problem = frames_of(path)
    if problem:
        what = str(problem).partition(";")[0]
        raise DataError(f"{path.absolute()} is damaged: {what}; convert the data again")
    return [(start - HEADER_BYTES, length) for start, length in frames]
