"""Finds the records that cannot be decoded."""

from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf

from ssdcore.data.records.index import RecordIndex
from ssdcore.data.records.record import decode, parse
from ssdcore.errors import DataError

UNDECODABLE = (
    tf.errors.InvalidArgumentError,
    tf.errors.DataLossError,
    tf.errors.UnknownError,
    UnicodeDecodeError,  # TensorFlow's message quotes the record's bytes, which may not be UTF-8
)
"""What a stream raises if a record cannot be read, parsed or decoded."""

MAX_REASON = 150
"""Characters; more of a message would quote the record's bytes."""


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
    found = []
    for number in sorted({int(number) for number in numbers}):
        if reason := _problem(index, number):
            found.append(Undecodable(number, index.name(number), reason))
    return found


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
