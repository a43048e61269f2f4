"""Writes one shard of a conversion; runs in a process of its own where there are several."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from pydantic import BaseModel, ConfigDict

from ssdcore.data.annotations import Example, Issue
from ssdcore.data.output import partial_path, publish, write_whole
from ssdcore.data.records.manifest import file_digest
from ssdcore.data.records.record import serialize
from ssdcore.data.validation.examine import Examined, examine
from ssdcore.data.validation.issues import KINDS
from ssdcore.errors import DataError

OnImage = Callable[[], None]


@dataclass(frozen=True)
class ShardJob:
    """A shard to write: its file, its images, the classes 1..C, and whether to leave faulty images out."""

    path: Path
    examples: tuple[Example, ...]
    classes: tuple[str, ...]
    skip_faulty: bool

    @property
    def report_path(self) -> Path:
        """The file that says that the shard is whole, and what is in it."""
        return self.path.with_suffix(".json")


class ShardReport(BaseModel):
    """What a shard holds, and the issues of its images as (kind, file, description)."""

    model_config = ConfigDict(frozen=True)
    images: int
    objects: int
    size: int
    digest: str
    source: str
    issues: tuple[tuple[str, str, str], ...]


def write_shard(job: ShardJob, on_image: OnImage = lambda: None) -> ShardReport:
    """Writes a shard and, once it is on disk, its report. A shard that has a report is kept as it is.

    Raises:
        DataError: an image is faulty and is not to be left out.
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
                on_image()
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
        self.issues: list[Issue] = []
        self.source = hashlib.sha256()

    def add(self, example: Example, examined: Examined, job: ShardJob) -> bytes | None:
        """The record of an image, or None if it is left out."""
        stopping = [issue for issue in examined.issues if KINDS[issue.kind].effect == "stops"]
        if stopping and not job.skip_faulty:
            raise DataError(f"{describe(stopping[0])}; or leave such images out with --skip-faulty")
        self.issues += examined.issues
        self.source.update(repr((example.name, example.objects)).encode())
        if stopping or examined.image is None:
            return None
        self.source.update(examined.image.encoded)
        self.images += 1
        self.objects += len(examined.objects)
        return serialize(example.name, examined.image, examined.objects, job.classes)

    def report(self, path: Path) -> ShardReport:
        return ShardReport(
            images=self.images,
            objects=self.objects,
            size=path.stat().st_size,
            digest=file_digest(path) or "",
            source=self.source.hexdigest(),
            issues=tuple(map(told, self.issues)),
        )


def told(issue: Issue) -> tuple[str, str, str]:
    """Kind, file and description; what is no Unicode in names of files is escaped."""
    file, text = (part.encode(errors="backslashreplace").decode() for part in (str(issue.file), str(issue)))
    return issue.kind, file, text


def describe(issue: Issue) -> str:
    """An issue with its whole path and what to do about it."""
    place = issue.file.absolute()
    number = f", {issue.place[:-2]}" if issue.place else ""
    return f"{place}{number}: {issue.kind}: {issue.detail}; {KINDS[issue.kind].advice}"
