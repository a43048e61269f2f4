"""`metrics.csv`: the rows of a training run, and among them those of evaluations that watch it.

Training counts its own rows in its checkpoints. Rows of others carry their name in the stage column:
`first (watch test voc07)`, which no stage can be called.
"""

import csv
import errno
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ssdcore.runs.run_folder import RunFolder, explain_writing, replace_file
from ssdcore.training.lock import held
from ssdcore.training.step import REPORTED

COLUMNS = ("step", "epoch", "stage", *REPORTED, "images_per_second", "data_wait", "map", "eval_loss")
Row = Mapping[str, float | int | str]
_WATCHED = re.compile(r".* \(watch (.+)\)")


class Line(NamedTuple):
    """A row as it stands in the file.

    Attributes:
        text: with the end of the line.
        fields: column -> text.
        watch: the name of the evaluation that wrote it; None: training did.
    """

    text: str
    fields: dict[str, str]
    watch: str | None

    @property
    def step(self) -> int:
        return int(self.fields["step"])


def format_row(row: Row) -> str:
    """A line of the file; columns that are not given stay empty."""
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="\n").writerow(row)
    return text.getvalue()


def read_lines(path: Path) -> list[Line]:
    """The whole lines below the first; a killed run may leave half a one."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_parse(text) for text in list(file)[1:] if text.endswith("\n")]


def _parse(text: str) -> Line:
    fields = dict(zip(COLUMNS, next(csv.reader([text])), strict=False))
    watch = _WATCHED.fullmatch(fields.get("stage", ""))
    return Line(text, fields, watch[1] if watch else None)


def cut_back(run: RunFolder, rows: int, step: int) -> int:
    """Leaves training's first `rows` rows, and the rows of others up to `step`.

    Returns:
        How many rows of training were there: fewer than `rows` if some are missing, and then nothing is changed.

    Raises:
        TrainingError: the file cannot be written.
    """
    with explain_writing(run.metrics), held(run.metrics_lock):
        lines = read_lines(run.metrics)
        own = [line for line in lines if line.watch is None]
        kept = {id(line) for line in own[:rows]} | {id(line) for line in lines if line.watch and line.step <= step}
        if len(own) >= rows:
            text = [",".join(COLUMNS) + "\n", *(line.text for line in lines if id(line) in kept)]
            replace_file(run.metrics, "".join(text).encode())
    return len(own)


def watched_steps(run: RunFolder, watch: str) -> dict[int, str]:
    """The steps that an evaluation of this name has rows of, with what they say of the mAP."""
    return {line.step: line.fields["map"] for line in read_lines(run.metrics) if line.watch == watch}


def add_watched(run: RunFolder, row: Row, watch: str) -> None:
    """Adds a row of an evaluation of this name, whole or not at all. Hold `run.metrics_lock`.

    Raises:
        TrainingError: the disk is full.
    """
    text = format_row({**row, "stage": f"{row['stage']} (watch {watch})"})
    with explain_writing(run.metrics), run.metrics.open("a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        head = "" if end else ",".join(COLUMNS) + "\n"
        if end:
            file.seek(end - 1)
            head = "" if file.read(1) == b"\n" else "\n"  # behind half a line of a killed run
        content = (head + text).encode()
        if file.write(content) < len(content):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
