"""TFRecord files and the `tf.train.Example` messages in them, read without TensorFlow.

For each record a file has its length, a checksum of that, its content, and a checksum of that.
"""

import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

from ssdcore.data.formats.values import AnnotationError

MAX_RECORD_BYTES = 2**28
_HEADER = struct.Struct("<QI")
HEADER_BYTES = _HEADER.size
"""Before the content of each record."""
_CHECKSUM = struct.Struct("<I")

_DESCRIPTION = """
name: "ssdcore/example.proto" package: "ssdcore" syntax: "proto2"
message_type { name: "Example" field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".ssdcore.Features" } }
message_type { name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".ssdcore.Entry" } }
message_type { name: "Entry"
  field { name: "key" number: 1 type: TYPE_STRING }
  field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".ssdcore.Feature" } }
message_type { name: "Feature"
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".ssdcore.BytesList" }
  field { name: "float_list" number: 2 type: TYPE_MESSAGE type_name: ".ssdcore.FloatList" }
  field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".ssdcore.Int64List" } }
message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "FloatList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
"""
"""`tensorflow/core/example/{example,feature}.proto`; on the wire a map is a list of entries."""

_pool = descriptor_pool.DescriptorPool()
_pool.Add(text_format.Parse(_DESCRIPTION, descriptor_pb2.FileDescriptorProto()))
_Example: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("ssdcore.Example"))


def parse_example(content: bytes) -> dict[str, list[Any]]:
    """The values of a serialized `tf.train.Example` by key: bytes, floats or ints; keys without a list are left out.

    Raises:
        ValueError: the content is not one.
    """
    try:
        entries = _Example.FromString(content).features.feature
    except DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from None
    return {
        entry.key: list(getattr(entry.value, kind).value)
        for entry in entries
        for kind in ("bytes_list", "float_list", "int64_list")
        if entry.value.HasField(kind)
    }


def frames_of(file: Path) -> tuple[list[tuple[int, int]], AnnotationError | None]:
    """Offset and length of each record's content, in bytes, up to the first damaged header, and that error.

    Where the record after a damaged header begins is unknown.
    """
    frames: list[tuple[int, int]] = []
    try:
        with file.open("rb") as data:
            size, position = os.fstat(data.fileno()).st_size, 0
            while position < size:
                data.seek(position)
                length = _length(data.read(HEADER_BYTES), position)
                start = position + HEADER_BYTES
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
    if len(header) < HEADER_BYTES:
        raise AnnotationError(f"the file is cut off in the header at byte {position}; copy it again")
    length, stated = _HEADER.unpack(header)
    if checksum(header[:8]) != stated:
        raise AnnotationError(f"there is no record at byte {position}: the checksum of its length is wrong")
    return int(length)


def are_sound(file: Path, frames: list[tuple[int, int]]) -> bool:
    """Whether the contents of the records agree with their checksums, and none is too large.

    TensorFlow does not say which one does not, but is a hundred times faster than Python.
    """
    if any(length > MAX_RECORD_BYTES for _, length in frames):
        return False
    import tensorflow as tf

    try:
        for _ in tf.data.TFRecordDataset(os.fsencode(file)).take(len(frames)):
            pass
    except tf.errors.OpError:
        return False
    return True


def read_content(data: BinaryIO, offset: int, length: int, sound: bool) -> bytes:
    """The content of a record, verified unless the file is known to be `sound`.

    Raises:
        AnnotationError: it is too large or damaged.
    """
    if length > MAX_RECORD_BYTES:
        raise AnnotationError(f"a record of {length} bytes, above the {MAX_RECORD_BYTES} that are read")
    data.seek(offset)
    content = data.read(length)
    if not sound and data.read(_CHECKSUM.size) != _CHECKSUM.pack(checksum(content)):
        raise AnnotationError("the checksum of the record is wrong: it is damaged")
    return content


def _crc_entry(entry: int) -> int:
    for _ in range(8):
        entry = (entry >> 1) ^ (0x82F63B78 if entry & 1 else 0)
    return entry


_CRC_TABLE = tuple(map(_crc_entry, range(256)))


def checksum(data: bytes) -> int:
    """TFRecord's masked CRC-32C."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
