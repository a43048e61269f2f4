"""Turns labelled images into sharded TFRecords with a manifest."""

import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import count
from pathlib import Path

from ssdcore.data.annotations import ISSUE_KINDS, LabelledSet
from ssdcore.data.formats import read_labelled
from ssdcore.data.records.manifest import Manifest, Split, digest_of
from ssdcore.data.records.shards import ShardJob, ShardReport, describe, issue_row, write_shard
from ssdcore.data.splits import DEFAULT_FRACTIONS, UNDIVIDED, divide
from ssdcore.errors import DataError, did_you_mean
from ssdcore.files import PARTIAL, require_unused, write_atomic
from ssdcore.params.class_names import UNLABELLED, check_class_names
from ssdcore.system.tensorflow import begin_worker
from ssdcore.types import OnProgress

IMAGES_PER_SHARD = 250
FEW_IMAGES = 6000
"""Up to this many images, starting more processes takes longer than it saves."""

_PLAN = "plan.txt"


def convert(
    labelled: LabelledSet | Path | str,
    out: Path | str,
    classes: Sequence[str] | None = None,
    *,
    skip_faulty: bool = False,
    workers: int | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Manifest:
    """Writes the records of a labelled set. `out` appears under its name only when it is complete.

    A conversion that was stopped, even by a crash, resumes at the first unfinished shard when it is
    started again, and ends with the same files.

    Args:
        labelled: images and boxes, or the folder or file to read them from (`read_labelled`); without splits of
            its own it is divided at random.
        out: folder to make; must not exist, or be empty.
        classes: names of classes 1..C in order; None takes the format's, or all that occur, sorted.
        skip_faulty: leave out images that cannot be used, instead of stopping.
        workers: processes; None: one per core if there are many images.
        on_progress: called with images done and images in all.

    Raises:
        DataError: something is missing or unreadable (reason `faulty_annotations` or `faulty_image`), or of
            a class that is not in `classes` (reason `unknown_class`); or `out` is in use (`folder_in_use`).
        SsdError: reason `cannot_write`.
        ParamError: `classes` is empty or repeats a name.
    """
    out = Path(out)
    if not isinstance(labelled, LabelledSet):
        labelled = read_labelled(Path(labelled))
    require_unused(out, DataError)
    if labelled.issues and not skip_faulty:
        message = f"{describe(labelled.issues[0])} ({len(labelled.issues)} such files)"
        raise DataError(message, "faulty_annotations")
    if UNDIVIDED in labelled.splits:
        labelled = divide(labelled, DEFAULT_FRACTIONS, seed=0)
    names = check_class_names(labelled.classes or collect_classes(labelled) if classes is None else classes)
    folder = out.resolve().with_name(f".{out.resolve().name}{PARTIAL}")
    jobs = list(_plan(labelled, folder, names, skip_faulty))
    _begin(folder, jobs)
    try:
        reports = _write(jobs, workers, on_progress)
    except DataError:  # the data must be changed first, so none of these shards can be kept
        shutil.rmtree(folder, ignore_errors=True)
        raise
    manifest = _manifest(labelled, names, jobs, reports)
    _finish(folder, out.resolve(), jobs, manifest)
    return manifest


def choose_splits(labelled: LabelledSet, wanted: Sequence[str]) -> LabelledSet:
    """The set with only the `wanted` splits.

    Raises:
        DataError: it has no split of one of these names.
    """
    for name in wanted:
        if name not in labelled.splits:
            raise DataError(f"{labelled.root.absolute()} has no split {name!r}; {did_you_mean(name, labelled.splits)}")
    return replace(labelled, splits={name: labelled.splits[name] for name in wanted})


def collect_classes(labelled: LabelledSet) -> tuple[str, ...]:
    """The class names of all objects, sorted.

    Raises:
        DataError: there are no objects.
    """
    names = {item.name for split in labelled.splits.values() for example in split for item in example.objects}
    names.discard(UNLABELLED)
    if not names:
        raise DataError(
            f"the annotations in {labelled.root.absolute()} hold no objects, so there are no classes; check the folder"
        )
    return tuple(sorted(names))


def _plan(labelled: LabelledSet, folder: Path, classes: tuple[str, ...], skip_faulty: bool) -> Iterable[ShardJob]:
    """The shards of all splits; images are dealt out in turn, so that shards are alike."""
    for split, examples in labelled.splits.items():
        shards = max(1, -(-len(examples) // IMAGES_PER_SHARD))
        for index in range(shards):
            path = folder / f"{split}-{index:05d}-of-{shards:05d}.tfrecord"
            yield ShardJob(path, split, tuple(examples[index::shards]), classes, skip_faulty)


def _begin(folder: Path, jobs: Sequence[ShardJob]) -> None:
    """Makes the folder of the unfinished conversion, or keeps it if it belongs to the same one."""
    plan = folder / _PLAN
    digest = digest_of(repr((job, [_stamp(example.image.path) for example in job.examples])) for job in jobs)
    if plan.is_file() and plan.read_text() == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_atomic(plan, digest.encode())


def _stamp(path: Path) -> tuple[int, int]:
    """Size and modification time, by which a changed image is noticed."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _write(jobs: Sequence[ShardJob], workers: int | None, on_progress: OnProgress) -> list[ShardReport]:
    """Writes all shards; their reports in the same order."""
    total = sum(len(job.examples) for job in jobs)
    if workers is None:
        workers = 1 if total <= FEW_IMAGES else os.cpu_count() or 1
    if workers == 1:
        done = count(1)
        return [write_shard(job, lambda: on_progress(next(done), total)) for job in jobs]
    finished = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context, begin_worker) as pool:
        futures = {pool.submit(write_shard, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                future.result()
                finished += len(futures[future].examples)
                on_progress(finished, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _manifest(
    labelled: LabelledSet, classes: tuple[str, ...], jobs: Sequence[ShardJob], reports: Sequence[ShardReport]
) -> Manifest:
    # An image may be in several splits, such as train and trainval: its issues count once.
    issues = dict.fromkeys(map(issue_row, labelled.issues))
    issues |= dict.fromkeys(issue for report in reports for issue in report.issues)
    splits = {}
    for name in labelled.splits:
        shards = [(job, report) for job, report in zip(jobs, reports, strict=True) if job.split == name]
        splits[name] = Split(
            shards=tuple(job.path.name for job, _ in shards),
            sizes=tuple(report.size for _, report in shards),
            digests=tuple(report.digest for _, report in shards),
            images=sum(report.images for _, report in shards),
            objects=sum(report.objects for _, report in shards),
        )
    return Manifest(
        classes=classes,
        splits=splits,
        source=digest_of(report.source for report in reports),
        issues=Counter(kind for kind, _, _ in issues),
        dropped=tuple(text for kind, _, text in issues if ISSUE_KINDS[kind].effect in ("stops", "drops box")),
    )


def _finish(folder: Path, out: Path, jobs: Sequence[ShardJob], manifest: Manifest) -> None:
    """Leaves only shards and manifest, and renames the folder to `out`.

    If it is stopped in here, the next conversion writes the shards whose report is gone again.
    """
    manifest.save(folder)
    for job in jobs:
        job.report_path.unlink()
    for leftover in folder.glob(f".*{PARTIAL}"):
        leftover.unlink()
    (folder / _PLAN).unlink()
    if out.is_dir():  # empty; not every system can replace a folder by another
        out.rmdir()
    folder.replace(out)
