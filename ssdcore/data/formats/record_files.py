"""Reads the framing of TFRecord files: for each record its length, checksum of that, content, checksum of that."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ssdcore.data.formats.values import AnnotationError

MAX_RECORD_BYTES = 2**28
_HEADER = struct.Struct("<QI")
HEADER_BYTES = _HEADER.size
"""Before the content of each record."""
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True)
class Record:
    """A record's content, and its offset in the file, bytes."""

    content: bytes
    offset: int


def records(file: Path) -> Iterator[Record | AnnotationError]:
    """Reads the records of a file lazily; an error takes the place of a damaged one.

    A record with a damaged length is the last: where the next one begins is unknown.
    """
    frames, problem = frames_of(file)
    if frames:
        sound = all(length <= MAX_RECORD_BYTES for _, length in frames) and _are_sound(file, len(frames))
        with file.open("rb") as data:
            yield from (_read(data, offset, length, sound) for offset, length in frames)
    if problem:
        yield problem


def frames_of(file: Path) -> tuple[list[tuple[int, int]], AnnotationError | None]:
    """Offset and length of each record's content, in bytes, up to the first damaged header, and that error."""
    frames: list[tuple[int, int]] = []
    try:
        with file.open("rb") as data:
            size, position = os.fstat(data.fileno()).st_size, 0
            while position < size:
                data.seek(position)
                header = data.read(_HEADER.size)
                length = _length(header, position)
                start = position + _HEADER.size
                position = start + length + _CHECKSUM.size
                if position > size:
                    raise AnnotationError(f"the file is cut off: it has {size} of {position} bytes; copy it again")
                frames.append((start, length))
    except AnnotationError as problem:
        return frames, problem
    except OSError as error:
        return frames, AnnotationError(f"it cannot be read: {error.strerror}")
    return frames, None


def _length(header: bytes, position: int) -> int:
    if header[:2] == b"\x1f\x8b":
        raise AnnotationError("the file is compressed by gzip; unpack it")
    if len(header) < _HEADER.size:
        raise AnnotationError(f"the file is cut off in the header at byte {position}; copy it again")
    length, stated = _HEADER.unpack(header)
    if checksum(header[:8]) != stated:
        raise AnnotationError(f"there is no record at byte {position}: the checksum of its length is wrong")
    return int(length)


def _are_sound(file: Path, count: int) -> bool:
    """Whether the contents of the first `count` records agree with their checksums.

    TensorFlow does not say which one does not, but is a hundred times faster than Python.
    """
    import tensorflow as tf

    try:
        for _ in tf.data.TFRecordDataset(os.fsencode(file)).take(count):
            pass
    except tf.errors.OpError:
        return False
    return True


def _read(data: BinaryIO, offset: int, length: int, sound: bool) -> Record | AnnotationError:
    if length > MAX_RECORD_BYTES:
        return AnnotationError(f"a record of {length} bytes, above the {MAX_RECORD_BYTES} that are read")
    data.seek(offset)
    content = data.read(length)
    if not sound and data.read(_CHECKSUM.size) != _CHECKSUM.pack(checksum(content)):
        return AnnotationError("the checksum of the record is wrong: it is damaged")
    return Record(content, offset)


def _table() -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        entry = byte
        for _ in range(8):
            entry = (entry >> 1) ^ (0x82F63B78 if entry & 1 else 0)
        entries.append(entry)
    return tuple(entries)


_CRC_TABLE = _table()


def checksum(data: bytes) -> int:
    """TFRecord's masked CRC-32C."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
