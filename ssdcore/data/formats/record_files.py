"""The framing of TFRecord files: length, its checksum, content, its checksum, again and again."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ssdcore.data.formats.files import AnnotationError

MAX_RECORD_BYTES = 2**28
_HEADER = struct.Struct("<QI")
HEADER_BYTES = _HEADER.size
"""In front of the content of each record."""
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True)
class Record:
    """A record's content, and where that begins in the file."""

    content: bytes
    offset: int


def records(file: Path) -> Iterator[Record | AnnotationError]:
    """The records of a file, each read when asked for; what is wrong with one stands in its place.

    Nothing follows a record whose length is wrong: there is no telling where the next begins.
    """
    frames, problem = frames_of(file)
    if frames:
        sound = all(length <= MAX_RECORD_BYTES for _, length in frames) and _are_sound(file, len(frames))
        with file.open("rb") as data:
            yield from (_read(data, offset, length, sound) for offset, length in frames)
    if problem:
        yield problem


def frames_of(file: Path) -> tuple[list[tuple[int, int]], AnnotationError | None]:
    """Offset and length of each record's content, in bytes, up to where the file makes no sense."""
    frames: list[tuple[int, int]] = []
    try:
        with file.open("rb") as data:
            size, place = os.fstat(data.fileno()).st_size, 0
            while place < size:
                data.seek(place)
                header = data.read(_HEADER.size)
                length = _length(header, place)
                start, place = place + _HEADER.size, place + _HEADER.size + length + _CHECKSUM.size
                if place > size:
                    raise AnnotationError(f"the file is cut off: it has {size} of {place} bytes; copy it again")
                frames.append((start, length))
    except AnnotationError as problem:
        return frames, problem
    except OSError as error:
        return frames, AnnotationError(f"it cannot be read: {error.strerror}")
    return frames, None


def _length(header: bytes, place: int) -> int:
    if header[:2] == b"\x1f\x8b":
        raise AnnotationError("the file is compressed by gzip; unpack it")
    if len(header) < _HEADER.size:
        raise AnnotationError(f"the file is cut off in the header at byte {place}; copy it again")
    length, stated = _HEADER.unpack(header)
    if checksum(header[:8]) != stated:
        raise AnnotationError(f"at byte {place} is no record: the checksum of its length is wrong")
    return int(length)


def _are_sound(file: Path, count: int) -> bool:
    """Whether the contents of the first `count` records have the checksums stated, by TensorFlow.

    It does not say which has not, but is a hundred times faster than Python.
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
