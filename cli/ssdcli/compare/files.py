"""The folder that `ssd compare --out` makes."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile

from ssdcli.compare.measure import Measured
from ssdcore.data.output import require_unused, write_whole, writing_into
from ssdcore.errors import DataError

TABLE, PLOT = "compare.csv", "compare.png"
ROOM = 200_000
"""Bytes that must be free before anything is measured; the files of forty detectors have half as many."""


def prepare(out: Path) -> None:
    """Makes the folder and tries whether it can be written, before minutes are spent on what goes into it.

    Raises:
        DataError: it is in use or cannot be written.
    """
    require_unused(out)
    with writing_into(out):
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out) as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())


def write(found: Sequence[Measured], out: Path) -> None:
    """Writes the table and the plot, or neither.

    Raises:
        DataError: that is not possible.
    """
    from ssdcli.compare.plot import draw

    contents = {TABLE: _table(found), PLOT: draw(found)}
    try:
        with writing_into(out):
            for name, content in contents.items():
                write_whole(out / name, content)
    except DataError:
        for name in contents:
            (out / name).unlink(missing_ok=True)
        raise


def _table(found: Sequence[Measured]) -> bytes:
    text = io.StringIO()
    rows = [asdict(one) for one in found]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "image_size": "x".join(map(str, row["image_size"]))} for row in rows)
    return text.getvalue().encode()
