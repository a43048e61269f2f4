"""Writes one shard of a conversion, possibly in a process of its own."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from pydantic import BaseModel

from ssdcore.data.annotations import ISSUE_KINDS, Example, Issue
from ssdcore.data.images import UprightImage
from ssdcore.data.records.manifest import file_digest
from ssdcore.data.records.record import serialize
from ssdcore.data.validation import ValidatedExample, validate
from ssdcore.errors import DataError
from ssdcore.files import atomic_file, write_atomic


@dataclass(frozen=True)
class ShardJob:
    """A shard to write: its file, split and images, the classes 1..C, and whether to leave out faulty images."""

    path: Path
    split: str
    examples: tuple[Example, ...]
    classes: tuple[str, ...]
    skip_faulty: bool

    @property
    def report_path(self) -> Path:
        """The file whose existence says that the shard is complete."""
        return self.path.with_suffix(".json")


class ShardReport(BaseModel, frozen=True):
    """What a shard holds, digests of the shard and of its input, and issues as (kind, file, description)."""

    images: int
    objects: int
    size: int
    digest: str
    source: str
    issues: tuple[tuple[str, str, str], ...]


def write_shard(job: ShardJob, on_image: Callable[[], None] = lambda: None) -> ShardReport:
    """Writes a shard and, once it is on disk, its report. A shard that has a report is kept.

    Raises:
        DataError: an image is faulty and must not be left out; reason `faulty_image` or `unknown_class`.
        SsdError: reason `cannot_write`.
    """
    if job.report_path.is_file():
        for _ in job.examples:
            on_image()
        return ShardReport.model_validate_json(job.report_path.read_bytes())
    source, issues = hashlib.sha256(), list[Issue]()
    objects = []  # how many, in each image that is written
    with atomic_file(job.path) as file:
        try:
            # TensorFlow opens the file by name and truncates it: it stays the one that is synced and renamed.
            with tf.io.TFRecordWriter(str(file.name)) as writer:
                for example in job.examples:
                    validated = validate(example, job.classes)
                    issues += validated.issues
                    source.update(repr((example.name, example.objects)).encode())
                    if image := _usable_image(validated, job.skip_faulty):
                        source.update(image.encoded)
                        objects.append(len(validated.objects))
                        writer.write(serialize(example.name, image, validated.objects, job.classes))
                    on_image()
        except tf.errors.OpError as error:  # such as a full disk
            raise OSError(0, error.message.rpartition("; ")[2], str(job.path)) from None
    report = ShardReport(
        images=len(objects),
        objects=sum(objects),
        size=job.path.stat().st_size,
        digest=file_digest(job.path) or "",
        source=source.hexdigest(),
        issues=tuple(map(issue_row, issues)),
    )
    write_atomic(job.report_path, report.model_dump_json().encode())
    return report


def _usable_image(validated: ValidatedExample, skip_faulty: bool) -> UprightImage | None:
    """The image to write, or None if it is left out."""
    stopping = next((issue for issue in validated.issues if ISSUE_KINDS[issue.kind].effect == "stops"), None)
    if stopping and not skip_faulty:
        reason = "unknown_class" if stopping.kind == "unknown class" else "faulty_image"
        raise DataError(describe(stopping), reason)
    return None if stopping else validated.image


def issue_row(issue: Issue) -> tuple[str, str, str]:
    """Kind, file and description; file names that are not valid Unicode are escaped."""
    file, text = (part.encode(errors="backslashreplace").decode() for part in (str(issue.file), str(issue)))
    return issue.kind, file, text


def describe(issue: Issue) -> str:
    """An issue with its whole path and what to do about it."""
    location = f", {issue.location[:-2]}" if issue.location else ""
    return f"{issue.file.absolute()}{location}: {issue.kind}: {issue.detail}; {ISSUE_KINDS[issue.kind].advice}"
