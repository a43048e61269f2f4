"""What `ssd compare` shows and writes: a table, CSV, and a plot of accuracy over latency."""

import io
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile

from ssdcli.compare.measure import Measured
from ssdcli.output import csv_text, print_table
from ssdcore.errors import DataError
from ssdcore.files import explain_writing, require_unused, write_atomic

TABLE, PLOT = "compare.csv", "compare.png"
SPACE = 200_000
"""Bytes that must be free before measuring; the files of forty detectors take half of that."""

COLUMNS = ("detector", "image, px", "million parameters", "billion MACs", "read, ms", "network, ms", "NMS, ms", "MiB")

Point = tuple[float, float]


def print_measured(measured: Sequence[Measured]) -> None:
    """A table on the terminal."""
    rows = [
        (
            one.name,
            _size(one),
            f"{one.parameters / 1e6:.2f}",
            "?" if one.macs is None else f"{one.macs / 1e9:.2f}",
            *(f"{value:.1f}" for value in (one.read_ms, one.network_ms, one.nms_ms)),
            f"{one.memory_mib:.0f}",
            "-" if one.map is None else f"{one.map:.4f}",
        )
        for one in measured
    ]
    print_table((*COLUMNS, "mAP"), rows)


def _size(one: Measured) -> str:
    return "x".join(map(str, one.image_size))


def prepare(out: Path) -> None:
    """Creates the folder and checks that it can be written, before minutes are spent on measuring.

    Raises:
        DataError: it is in use or cannot be written.
    """
    require_unused(out, DataError)
    with explain_writing(out, DataError):
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out) as file:
            file.write(bytes(SPACE))
            file.flush()
            os.fsync(file.fileno())


def write(measured: Sequence[Measured], out: Path) -> None:
    """Writes the table and the plot, or neither.

    Raises:
        DataError: that is not possible.
    """
    rows = [{**asdict(one), "image_size": _size(one)} for one in measured]
    table = csv_text([list(rows[0]), *(list(row.values()) for row in rows)])
    contents = {TABLE: table.encode(), PLOT: draw(measured)}
    try:
        for name, content in contents.items():
            write_atomic(out / name, content, DataError)
    except DataError:
        for name in contents:
            (out / name).unlink(missing_ok=True)
        raise


def draw(measured: Sequence[Measured]) -> bytes:
    """A PNG of latency against average precision if any detector is trained, else against MACs where known."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure((8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xscale="log", xlabel="ms from an image in memory to its detections")
    if any(one.map is not None for one in measured):
        points = [(one.latency_ms, one.map, one) for one in measured if one.map is not None]
        front = pareto_front([(x, y) for x, y, _ in points])
        axes.plot(*zip(*front, strict=True), color="0.7", zorder=0, drawstyle="steps-post", label="Pareto front")
        axes.set_ylabel("mAP")
        axes.legend(loc="lower right", frameon=False)
    else:
        points = [(one.latency_ms, one.macs / 1e9, one) for one in measured if one.macs]
        axes.set(yscale="log", ylabel="billion MACs")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        if axis.get_scale() == "log":  # plain numbers
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_formatter(NullFormatter())
    for x, y, one in points:
        axes.scatter(x, y, s=20 + one.parameters / 4e5, alpha=0.6)
        axes.annotate(one.name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.margins(x=0.15)  # names stand to the right of their points
    axes.set_title("area: parameters", fontsize=9, loc="right")
    if len(points) < len(measured):
        axes.set_title(f"not shown, {axes.get_ylabel()} unknown: {len(measured) - len(points)}", fontsize=9, loc="left")
    axes.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, dpi=120)
    return image.getvalue()


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The (cost, value) points for which no other has less cost and no less value, or equal cost and more; by cost."""
    front: list[Point] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front
