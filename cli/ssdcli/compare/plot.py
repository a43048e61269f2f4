"""The speed/accuracy plot; imports matplotlib."""

import io
from collections.abc import Sequence

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ssdcli.compare.front import pareto_front
from ssdcli.compare.measure import Measured


def draw(found: Sequence[Measured]) -> bytes:
    """Milliseconds against average precision where detectors are trained, else against MACs where known, as PNG."""
    figure = Figure((8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_xlabel("ms from an image in memory to its detections")
    if any(one.map is not None for one in found):
        points = [(one.latency_ms, one.map, one) for one in found if one.map is not None]
        front = pareto_front([(x, y) for x, y, _ in points])
        axes.plot(*zip(*front, strict=True), color="0.7", zorder=0, drawstyle="steps-post", label="Pareto front")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel("mAP")
        axes.legend(loc="lower right", frameon=False)
    else:
        points = [(one.latency_ms, one.macs / 1e9, one) for one in found if one.macs]
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
        axes.set_ylabel("billion MACs")
    for x, y, one in points:
        axes.scatter(x, y, s=20 + one.parameters / 4e5, alpha=0.6)
        axes.annotate(one.name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.margins(x=0.15)  # names stand to the right of their points
    axes.set_title("area: parameters", fontsize=9, loc="right")
    if len(points) < len(found):
        axes.set_title(f"not shown, {axes.get_ylabel()} unknown: {len(found) - len(points)}", fontsize=9, loc="left")
    axes.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, dpi=120)
    return image.getvalue()


def _plain_ticks(axis: Axis) -> None:
    """Plain numbers along a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter("{x:g}")
