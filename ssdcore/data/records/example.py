"""Parses serialized `tf.train.Example` messages without TensorFlow."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

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

_KINDS = ("bytes_list", "float_list", "int64_list")


def _message() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_DESCRIPTION, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ssdcore.Example"))


_Example = _message()


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
        for kind in _KINDS
        if entry.value.HasField(kind)
    }
