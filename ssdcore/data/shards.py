"""Writes one shard of a conversion; runs in a process of its own where there are several."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from pydantic import BaseModel, ConfigDict

from ssdcore.data.examine import Examined, examine
from ssdcore.data.example import Example, Fault
from ssdcore.data.faults import KINDS
from ssdcore.data.manifest import file_digest
from ssdcore.data.output import partial_path, publish, write_whole
from ssdcore.data.records import serialize
from ssdcore.errors import DataError

OnPicture = Callable[[], None]


@dataclass(frozen=True)
class ShardJob:
    """A shard to write: its file, its pictures, the classes 1..C, and whether to leave faulty pictures out."""

    path: Path
    examples: tuple[Example, ...]
    classes: tuple[str, ...]
    skip_faulty: bool

    @property
    def report_path(self) -> Path:
        """The file that says that the shard is whole, and what is in it."""
        return self.path.with_suffix(".json")


class ShardReport(BaseModel):
    """What a shard holds, and the faults of its pictures as (kind, file, description)."""

    model_config = ConfigDict(frozen=True)
    images: int
    objects: int
    size: int
    digest: str
    source: str
    faults: tuple[tuple[str, str, str], ...]


def write_shard(job: ShardJob, on_picture: OnPicture = lambda: None) -> ShardReport:
    """Writes a shard and, once it is on disk, its report. A shard that has a report is kept as it is.

    Raises:
        DataError: a picture is faulty and is not to be left out.
    """
    if job.report_path.is_file():
        return ShardReport.model_validate_json(job.report_path.read_bytes())
    tally = _Tally()
    partial = partial_path(job.path)
    try:
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for example in job.examples:
                record = tally.add(example, examine(example, job.classes), job)
                if record is not None:
                    writer.write(record)
                on_picture()
    except tf.errors.OpError as error:  # such as a full disk
        raise OSError(0, error.message.rpartition("; ")[2], str(job.path)) from None
    publish(partial, job.path)
    report = tally.report(job.path)
    write_whole(job.report_path, report.model_dump_json().encode())
    return report


class _Tally:
    """What a shard holds so far."""

    def __init__(self) -> None:
        self.images = self.objects = 0
        self.faults: list[Fault] = []
        self.source = hashlib.sha256()

    def add(self, example: Example, examined: Examined, job: ShardJob) -> bytes | None:
        """The record of a picture, or None if it is left out."""
        stopping = [fault for fault in examined.faults if KINDS[fault.kind].effect == "stops"]
        if stopping and not job.skip_faulty:
            raise DataError(f"{describe(stopping[0])}; or leave such pictures out with --skip-faulty")
        self.faults += examined.faults
        self.source.update(repr((example.name, example.objects)).encode())
        if stopping or examined.picture is None:
            return None
        self.source.update(examined.picture.encoded)
        self.images += 1
        self.objects += len(examined.objects)
        return serialize(example.name, examined.picture, examined.objects, job.classes)

    def report(self, path: Path) -> ShardReport:
        return ShardReport(
            images=self.images,
            objects=self.objects,
            size=path.stat().st_size,
            digest=file_digest(path) or "",
            source=self.source.hexdigest(),
            faults=tuple(map(told, self.faults)),
        )


def told(fault: Fault) -> tuple[str, str, str]:
    """Kind, file and description; what is no Unicode in names of files is escaped."""
    file, text = (part.encode(errors="backslashreplace").decode() for part in (str(fault.file), str(fault)))
    return fault.kind, file, text


def describe(fault: Fault) -> str:
    """A fault with its whole path and what to do about it."""
    place = fault.file.absolute()
    number = f", {fault.place[:-2]}" if fault.place else ""
    return f"{place}{number}: {fault.kind}: {fault.detail}; {KINDS[fault.kind].advice}"
