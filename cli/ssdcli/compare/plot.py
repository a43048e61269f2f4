"""The speed/accuracy plot; imports matplotlib."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ssdcli.compare.front import pareto_front
from ssdcli.compare.measure import Measured


def draw(found: Sequence[Measured], path: Path) -> None:
    """Draws milliseconds against average precision where detectors are trained, else against MACs."""
    figure = Figure((8, 5), layout="constrained")
    axes = figure.add_subplot()
    trained = [one for one in found if one.map is not None]
    if trained:
        points = [(one.latency_ms, one.map or 0.0, one) for one in trained]
        front = pareto_front([(x, y) for x, y, _ in points])
        axes.plot(*zip(*front, strict=True), color="0.7", zorder=0, drawstyle="steps-post", label="Pareto front")
        axes.set_ylabel("mAP")
        axes.legend(loc="lower right", frameon=False)
    else:
        points = [(one.latency_ms, one.macs / 1e9, one) for one in found]
        axes.set_ylabel("billion MACs")
        axes.set_yscale("log")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("ms from a picture in memory to its detections")
    for x, y, one in points:
        axes.scatter(x, y, s=20 + one.parameters / 4e5, alpha=0.6)
        axes.annotate(one.name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.margins(x=0.15)  # names stand to the right of their points
    axes.set_title("area: parameters", fontsize=9, loc="right")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
