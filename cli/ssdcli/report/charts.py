"""The charts of a report: matplotlib's SVG, inline, in the colours of the page's style sheet.

They hold no names that users gave: titles and legends are HTML around them.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssdcore.evaluation.analysis import Analysis, ClassScores
from ssdcore.evaluation.analysis.curves import Calibration
from ssdcore.evaluation.analysis.matched import IOUS
from ssdcore.runs.run_folder import Scores

Points = Iterable[tuple[float, float]]

DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "12 4")
"""Of the first series, the second and so on, as `stroke-dasharray`; their colours are `--m0`, `--m1` and so on."""

_VARIABLES = (*(f"m{index}" for index in range(len(DASHES))), "line", "quiet", "page", "true", "false")
_COLOURS = {name: f"#0a0b{number:02x}" for number, name in enumerate(_VARIABLES)}
"""CSS variable -> the colour that stands for it until the SVG is written."""

_SETTINGS: Any = {
    "svg.fonttype": "none",
    "font.size": 11.5,
    "axes.edgecolor": _COLOURS["quiet"],
    "axes.labelcolor": _COLOURS["quiet"],
    "xtick.color": _COLOURS["quiet"],
    "ytick.color": _COLOURS["quiet"],
    "grid.color": _COLOURS["line"],
    "grid.linewidth": 1,
    "axes.grid": True,
    "axes.axisbelow": True,
    "lines.scale_dashes": False,
    **{f"{axis}tick.{side}": False for axis, side in (("x", "bottom"), ("y", "left"))},
}

_SUPERFLUOUS = (
    r"<defs>\s*<style.*?</style>\s*</defs>",  # the page has its own
    r' id="[a-zA-Z.]+[\w.]*_\d+"',  # of groups, the same in each chart
    r" font-family: [^;]+;",
    r' transform="rotate\(-0 [^)]*\)"',
)
"""Patterns of what matplotlib writes and a page does not need."""


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; n/a for None."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def precision_recall_chart(scores: Mapping[str, ClassScores]) -> Markup:
    """Precision over recall of a class, with the best F1 of each model as a point."""
    figure, axes = _figure((300, 244), "recall", "precision")
    for index, one in enumerate(scores.values()):
        if len(one.curve.recall):
            points = [(0.0, float(one.curve.precision[0])), *zip(one.curve.recall, one.curve.precision, strict=True)]
            _line(axes, points, index)
        if one.best:
            _dots(axes, [(one.best.recall, one.best.precision)], index)
    summary = "; ".join(f"{label}: voc12 {number(one.voc12)}" for label, one in scores.items())
    name = next(iter(scores.values())).name
    return _inline(figure, f"{name}: precision over recall, {summary}")


def iou_chart(models: Mapping[str, Analysis]) -> Markup:
    """Mean average precision over the IoU that a match needs; of a single model also that of a few classes."""
    figure, axes = _figure((360, 244), "least IoU of a match", "AP (voc12)")
    axes.set_xlim(IOUS[0], IOUS[-1])
    for index, one in enumerate(iou_classes(models), start=1):
        _line(axes, _known(one.at_ious), index, linewidth=1.2, alpha=0.75)
    for index, analysis in enumerate(models.values()):
        _line(axes, _known(analysis.mean_at_ious), index)
    summary = "; ".join(
        f"{label}: {number(one.mean_at_ious[0])} to {number(one.mean_at_ious[-1])}" for label, one in models.items()
    )
    return _inline(figure, f"AP over IoU: mean voc12 at IoU 0.50 to 0.95, {summary}")


def iou_classes(models: Mapping[str, Analysis]) -> Sequence[ClassScores]:
    """The classes that `iou_chart` draws: those of a single model, if there are colours for all."""
    (first, *others) = models.values()
    return () if others or len(first.classes) >= len(DASHES) else first.classes


def steps_chart(series: Scores) -> Markup:
    """mAP over training steps."""
    figure, axes = _figure((360, 244), "step", "mAP", limits=None)
    for index, points in enumerate(series.values()):
        _line(axes, points, index)
        _dots(axes, points, index)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlim(left=0)
    axes.locator_params(nbins=5)
    summary = "; ".join(f"{label}: best {max(value for _, value in points):.4f}" for label, points in series.items())
    return _inline(figure, f"mAP over steps: {summary}")


def histogram_chart(analysis: Analysis) -> Markup:
    """How many true and false detections have which score, on a logarithmic scale."""
    figure, axes = _figure((360, 244), "score", "detections")
    false, true = analysis.histogram.tolist()
    bins = len(true)
    for counts, variable, start in ((false, "false", 0.08), (true, "true", 0.5)):
        lefts = [(index + start) / bins for index in range(bins)]
        axes.bar(lefts, counts, 0.42 / bins, align="edge", color=_COLOURS[variable])
    most = max(10, *false, *true)
    axes.set(yscale="log", ylim=(0.7, 10 ** len(str(most - 1))))
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return _inline(figure, f"True and false detections: {sum(true)} true and {sum(false)} false detections by score")


def reliability_chart(calibration: Calibration) -> Markup:
    """The fraction of true detections in each bin of scores, beside the mean score."""
    figure, axes = _figure((360, 244), "mean score of the bin", "fraction of true detections")
    bins = len(calibration.counts)
    lefts = [(index + 0.06) / bins for index in range(bins)]
    axes.bar(lefts, calibration.precision, 0.88 / bins, align="edge", color=_COLOURS["true"], alpha=0.35)
    axes.plot([0, 1], [0, 1], color=_COLOURS["quiet"], linewidth=1.2, dashes=(4, 4))
    filled = calibration.counts > 0
    _dots(axes, zip(calibration.mean_scores[filled], calibration.precision[filled], strict=True), 0)
    return _inline(figure, f"Reliability: expected calibration error {number(calibration.error)}")


@matplotlib.rc_context(_SETTINGS)
def _figure(size: tuple[int, int], x: str, y: str, limits: tuple[float, float] | None = (0, 1)) -> tuple[Figure, Axes]:
    """A figure of a width and height in px with one pair of axes, by default both from 0 to 1."""
    width, height = size
    figure = Figure((width / 72, height / 72))
    axes = figure.add_axes((46 / width, 40 / height, (width - 58) / width, (height - 50) / height))
    axes.set(xlabel=x, ylabel=y)
    if limits:
        axes.set(xlim=limits, ylim=limits)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
    return figure, axes


@matplotlib.rc_context(_SETTINGS)
def _line(axes: Axes, points: Points, index: int, linewidth: float = 2, alpha: float = 1) -> None:
    """A line through points, in the style of the series at an index."""
    style: dict[str, Any] = {"linewidth": linewidth, "alpha": alpha, "zorder": 3, "clip_on": False}  # over the frame
    (line,) = axes.plot(*_columns(points), color=_COLOURS[f"m{index % len(DASHES)}"], **style)
    if dashes := DASHES[index % len(DASHES)]:
        line.set_dashes([float(length) for length in dashes.split()])


def _dots(axes: Axes, points: Points, index: int) -> None:
    """Points in the colour of the series at an index."""
    style: dict[str, Any] = {"markersize": 8, "markeredgewidth": 1.5, "zorder": 4, "clip_on": False}
    axes.plot(
        *_columns(points), "o", color=_COLOURS[f"m{index % len(DASHES)}"], markeredgecolor=_COLOURS["page"], **style
    )


def _columns(points: Points) -> NDArray[np.float64]:
    """x and y of points, (2, N)."""
    return np.array(list(points), float).reshape(-1, 2).T


def _known(values: Sequence[float | None]) -> list[tuple[float, float]]:
    return [(iou, value) for iou, value in zip(IOUS, values, strict=True) if value is not None]


def _inline(figure: Figure, label: str) -> Markup:
    """The figure as an SVG element of an HTML page, with a label for those who cannot see it."""
    file = io.StringIO()
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": label}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue().partition("</metadata>")[2]  # the page has its own head
    svg = re.sub("|".join(_SUPERFLUOUS), "", svg, flags=re.DOTALL)
    svg = re.sub(r"(\.\d\d)\d+", r"\1", svg)
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    width, height = (round(72 * side) for side in figure.get_size_inches())
    start = f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    return Markup(start + re.sub(r"\s*\n\s*", "\n", svg).strip())
