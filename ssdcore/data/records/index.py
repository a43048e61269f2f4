"""Locates each record of a split, so that any of them can be read by itself, and finds those that cannot be decoded."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ssdcore.data.formats.record_files import HEADER_BYTES, parse_example
from ssdcore.data.records.manifest import check_count, shard_frames, shard_paths
from ssdcore.data.records.record import decode, parse
from ssdcore.errors import DataError
from ssdcore.types import Tensor

UNDECODABLE = (
    tf.errors.InvalidArgumentError,
    tf.errors.DataLossError,
    tf.errors.UnknownError,
    UnicodeDecodeError,  # TensorFlow's message quotes the record's bytes, which may not be UTF-8
)
"""What a stream raises if a record cannot be read, parsed or decoded."""

MAX_REASON = 150
"""Characters; more of a message would quote the record's bytes."""


class RecordIndex:
    """The records of some uncompressed TFRecord files, numbered from 0 on in the order of the files.

    Only the 12 header bytes of each record are read to find them.

    Raises:
        DataError: a file is damaged or cut off.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        frames = [np.array(shard_frames(path), np.int64).reshape(-1, 2) for path in paths]
        self._files = np.repeat(np.arange(len(frames)), [len(found) for found in frames])
        contents, self._lengths = np.concatenate(frames).T
        self._offsets = contents - HEADER_BYTES
        self._encoded = np.array([os.fsencode(path) for path in paths], object)

    @classmethod
    def of_split(cls, folder: Path, split: str) -> Self:
        """The records of a split of converted data.

        Raises:
            DataError: the folder, the split or a shard is missing or damaged, or the split is empty.
        """
        index = cls(shard_paths(folder, split))
        check_count(folder, split, len(index))
        return index

    def __len__(self) -> int:
        return len(self._offsets)

    def locate(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        """Files (N,), paths as bytes, and offsets (N,), in bytes, of records (N,)."""
        return self._encoded[self._files[numbers]], self._offsets[numbers]

    def read(self, number: int) -> bytes:
        """The content of a record, verified against its checksum; may be called from any thread.

        Raises:
            tf.errors.OpError: the checksum differs, or the file cannot be read.
        """
        content: bytes = read_at(os.fsencode(self.path(number)), self._offsets[number]).numpy()
        return content

    def path(self, number: int) -> Path:
        """The file that holds a record."""
        return self._paths[self._files[number]]

    def name(self, number: int) -> str:
        """The name of a record's image, or else its file and position in it, from 1 on."""
        with self.path(number).open("rb") as file:  # not `read`: the name is wanted of damaged records too
            file.seek(self._offsets[number] + HEADER_BYTES)
            content = file.read(self._lengths[number])
        with suppress(ValueError):
            values = parse_example(content).get("image/filename")
            if values and isinstance(values[0], bytes) and values[0]:
                return values[0].decode(errors="backslashreplace")
        position = number - int(np.searchsorted(self._files, self._files[number])) + 1
        return f"{self.path(number).name}, record {position}"


def read_at(file: Tensor, offset: Tensor) -> Tensor:
    """The content () string of the record at an offset () int64, bytes, of a file () string.

    It is verified against its checksum. Unlike `TFRecordDataset`, this can begin at an offset, and it runs
    in a graph without Python.
    """
    dataset = tf.raw_ops.TFRecordDatasetV2(
        filenames=[file], compression_type="", buffer_size=0, byte_offsets=[tf.cast(offset, tf.int64)]
    )
    records = tf.data.experimental.from_variant(dataset, tf.TensorSpec([], tf.string))
    return records.take(1).get_single_element()


class Undecodable(NamedTuple):
    """A record that cannot be decoded: its number, the name of its image, and why, in one line."""

    number: int
    name: str
    reason: str


def find_undecodable(index: RecordIndex, numbers: Iterable[int]) -> list[Undecodable]:
    """Those of some records that cannot be read, parsed or fully decoded, each once, in order.

    Raises:
        DataError: a shard is missing.
    """
    reasons = {number: _problem(index, number) for number in sorted({int(number) for number in numbers})}
    return [Undecodable(number, index.name(number), reason) for number, reason in reasons.items() if reason]


def _problem(index: RecordIndex, number: int) -> str:
    """What is wrong with a record; empty if nothing is."""
    try:
        content = index.read(number)
    except tf.errors.NotFoundError:
        raise DataError(f"{index.path(number).absolute()} is missing; convert the data again") from None
    except UNDECODABLE as error:
        return f"the record is damaged: {one_line(error)}"
    try:
        record = parse(tf.constant(content))
        found = decode(record["image"]).shape[:2].as_list()
    except UNDECODABLE as error:
        return f"it cannot be decoded: {one_line(error)}"
    stated = record["size"].numpy().tolist()
    if found != stated:
        return f"the image is {found[1]} x {found[0]} px, its record says {stated[1]} x {stated[0]}"
    return ""


def one_line(error: Exception) -> str:
    """The message of one of the `UNDECODABLE` errors in one line, without TensorFlow's node names."""
    if not isinstance(error, tf.errors.OpError):
        return "it is not a record of an image"
    text = error.message.rpartition("}}")[2].partition("[Op:")[0]
    return " ".join(text.split())[:MAX_REASON]
