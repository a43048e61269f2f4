"""Turns labelled images into sharded TFRecords with a manifest."""

import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import count
from pathlib import Path

from ssdcore.data.annotations import Example, LabelledSet
from ssdcore.data.formats import read_labelled
from ssdcore.data.output import require_unused, write_whole
from ssdcore.data.records.manifest import Manifest, Split, digest_of
from ssdcore.data.records.shards import ShardJob, ShardReport, describe, told, write_shard
from ssdcore.data.splits import DEFAULT_SHARES, UNDIVIDED, divide
from ssdcore.data.validation.issues import KINDS
from ssdcore.data.workers import begin_worker
from ssdcore.errors import DataError, did_you_mean
from ssdcore.params.class_names import UNLABELLED, check_class_names

IMAGES_PER_SHARD = 250
FEW_IMAGES = 6000
"""Up to so many, starting further processes would take longer than it saves."""

_PLAN = "plan.txt"

Progress = Callable[[int, int], None]
"""Called with images done and images in all."""


def convert(
    labelled: LabelledSet | Path | str,
    out: Path | str,
    classes: Sequence[str] | None = None,
    *,
    skip_faulty: bool = False,
    workers: int | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Manifest:
    """Writes the records of a labelled set. `out` appears under its name only when it is complete.

    A conversion that was stopped, however hard, goes on where it was when it is started again, and
    ends with the same files.

    Args:
        labelled: images and boxes, or the folder or file to read them from (`read_labelled`); without splits of
            its own it is divided at random.
        out: folder to make; must not exist, or be empty.
        classes: names of classes 1..C in order; None takes the format's, or collects them, sorted.
        skip_faulty: leave out images that cannot be used, instead of stopping.
        workers: processes; None: one for each core where there are many images.
        on_progress: is told of progress.

    Raises:
        DataError: something is missing or unreadable, or of a class that is not in `classes`.
        ParamError: `classes` are not names that differ.
    """
    out = Path(out)
    if not isinstance(labelled, LabelledSet):
        labelled = read_labelled(Path(labelled))
    require_unused(out)
    if labelled.issues and not skip_faulty:
        raise DataError(
            f"{describe(labelled.issues[0])} ({len(labelled.issues)} such files; ssd data check lists them, "
            "--skip-faulty leaves them out)"
        )
    if UNDIVIDED in labelled.splits:
        labelled = divide(labelled, DEFAULT_SHARES, seed=0)
    if classes is None:
        classes = labelled.classes or collect_classes(labelled)
    names = check_class_names(classes)
    folder = out.resolve().with_name(f".{out.resolve().name}.partial")
    jobs = _plan(labelled.splits, folder, names, skip_faulty)
    _begin(folder, jobs)
    try:
        reports = _write(jobs, workers, on_progress)
    except DataError:  # the data must be changed first, and then all of this is of no use
        shutil.rmtree(folder, ignore_errors=True)
        raise
    manifest = _manifest(labelled, names, jobs, reports)
    _finish(folder, out.resolve(), jobs, manifest)
    return manifest


def choose_splits(labelled: LabelledSet, wanted: Sequence[str]) -> LabelledSet:
    """The set with some of its splits only.

    Raises:
        DataError: it has no split of a wanted name.
    """
    for name in wanted:
        if name not in labelled.splits:
            raise DataError(f"{labelled.root.absolute()} has no split {name!r}; {did_you_mean(name, labelled.splits)}")
    return replace(labelled, splits={name: labelled.splits[name] for name in wanted})


def collect_classes(labelled: LabelledSet) -> tuple[str, ...]:
    """The names of all objects, sorted.

    Raises:
        DataError: there are no objects.
    """
    names = {item.name for split in labelled.splits.values() for example in split for item in example.objects}
    names.discard(UNLABELLED)
    if not names:
        raise DataError(
            f"the annotations in {labelled.root.absolute()} hold no objects, so there are no classes to learn; "
            "check the folder"
        )
    return tuple(sorted(names))


def _plan(
    splits: Mapping[str, Sequence[Example]], folder: Path, classes: tuple[str, ...], skip_faulty: bool
) -> dict[str, list[ShardJob]]:
    """The shards of each split; images are dealt out in turn, so that shards are alike."""
    jobs = {}
    for name, examples in splits.items():
        shards = max(1, -(-len(examples) // IMAGES_PER_SHARD))
        jobs[name] = [
            ShardJob(
                folder / f"{name}-{index:05d}-of-{shards:05d}.tfrecord",
                tuple(examples[index::shards]),
                classes,
                skip_faulty,
            )
            for index in range(shards)
        ]
    return jobs


def _begin(folder: Path, jobs: Mapping[str, Sequence[ShardJob]]) -> None:
    """Makes the folder of an unfinished conversion, or keeps that of the same one."""
    plan = folder / _PLAN
    digest = digest_of(_describe_job(job) for split in jobs.values() for job in split)
    if plan.is_file() and plan.read_text() == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_whole(plan, digest.encode())


def _describe_job(job: ShardJob) -> str:
    """Everything that a shard depends on; images by size and time of change."""
    return repr((job, [_stamp(example.image.path) for example in job.examples]))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _write(
    jobs: Mapping[str, Sequence[ShardJob]], workers: int | None, on_progress: Progress
) -> dict[Path, ShardReport]:
    """The reports of all shards by their paths."""
    flat = [job for split in jobs.values() for job in split]
    total = sum(len(job.examples) for job in flat)
    if workers is None:
        workers = 1 if total <= FEW_IMAGES else os.cpu_count() or 1
    if workers == 1:
        return _write_here(flat, total, on_progress)
    reports, done = {}, 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(flat)), context, begin_worker) as pool:
        futures = {pool.submit(write_shard, job): job for job in flat}
        try:
            for future in as_completed(futures):
                job = futures[future]
                reports[job.path] = future.result()
                done += len(job.examples)
                on_progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return reports


def _write_here(jobs: Sequence[ShardJob], total: int, on_progress: Progress) -> dict[Path, ShardReport]:
    reports, done = {}, 0
    for job in jobs:
        reports[job.path] = write_shard(job, _counting(on_progress, done, total))
        done += len(job.examples)
        on_progress(done, total)  # a shard that is kept tells nothing
    return reports


def _counting(on_progress: Progress, done: int, total: int) -> Callable[[], None]:
    """What to call for each further image."""
    counter = count(done + 1)
    return lambda: on_progress(next(counter), total)


def _manifest(
    labelled: LabelledSet,
    classes: tuple[str, ...],
    jobs: Mapping[str, Sequence[ShardJob]],
    reports: Mapping[Path, ShardReport],
) -> Manifest:
    ordered = [reports[job.path] for split in jobs.values() for job in split]
    # An image may be in several splits, such as train and trainval: its issues count once.
    issues = dict.fromkeys(map(told, labelled.issues))
    issues |= dict.fromkeys(issue for report in ordered for issue in report.issues)
    return Manifest(
        classes=classes,
        splits={name: _split([job.path for job in split], reports) for name, split in jobs.items()},
        source=digest_of(report.source for report in ordered),
        issues=Counter(kind for kind, _, _ in issues),
        dropped=tuple(text for kind, _, text in issues if KINDS[kind].effect in ("stops", "drops box")),
    )


def _split(paths: Iterable[Path], reports: Mapping[Path, ShardReport]) -> Split:
    found = {path.name: reports[path] for path in paths}
    return Split(
        shards=tuple(found),
        sizes=tuple(report.size for report in found.values()),
        digests=tuple(report.digest for report in found.values()),
        images=sum(report.images for report in found.values()),
        objects=sum(report.objects for report in found.values()),
    )


def _finish(folder: Path, out: Path, jobs: Mapping[str, Sequence[ShardJob]], manifest: Manifest) -> None:
    """Leaves shards and manifest only, and gives the folder its name.

    A conversion that is stopped in here writes the shards without a report again.
    """
    manifest.save(folder)
    for job in (job for split in jobs.values() for job in split):
        job.report_path.unlink()
    for leftover in folder.glob(".*.partial"):
        leftover.unlink()
    (folder / _PLAN).unlink()
    if out.is_dir():  # it is empty, and a folder cannot replace one everywhere
        out.rmdir()
    folder.replace(out)
