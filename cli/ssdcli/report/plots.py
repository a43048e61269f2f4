"""The charts of a report; each takes the models that it is to show, one or several."""

from collections.abc import Mapping, Sequence

from ssdcli.report.html import Safe, figure, number, tag
from ssdcli.report.svg import COLOURS, Axis, Chart, legend, linear, shares
from ssdcli.report.svg import counts as count_axis
from ssdcore.evaluation.analysis import Analysis
from ssdcore.evaluation.analysis.calibration import Calibration
from ssdcore.evaluation.analysis.matched import IOUS

Models = Mapping[str, Analysis]

MOST_LINES = COLOURS - 1
"""Classes that are drawn one by one beside the mean."""


def precision_recall_charts(models: Models) -> Safe:
    """A chart for each class, with the best F1 of each model as a point."""
    names = [one.name for one in next(iter(models.values())).classes]
    return tag("div", [_precision_recall(models, place) for place in range(len(names))], class_="charts")


def _precision_recall(models: Models, place: int) -> Safe:
    scores = {label: analysis.classes[place] for label, analysis in models.items()}
    name = next(iter(scores.values())).name
    said = "; ".join(f"{label}: voc12 {number(one.voc12)}" for label, one in scores.items())
    side = f"AP {number(next(iter(scores.values())).voc12)}" if len(scores) == 1 else ""
    chart = Chart(name, f"precision over recall, {said}", shares("recall"), shares("precision"), side, (300, 260))
    for number_of, (label, one) in enumerate(scores.items()):
        colour = number_of % COLOURS
        if len(one.curve.recall):
            points = [(0.0, float(one.curve.precision[0])), *zip(one.curve.recall, one.curve.precision, strict=True)]
            chart.line(points, f"series s{colour}", label)
        if one.best:
            tip = (
                f"{label}: best F1 {one.best.f1:.3f} at score {one.best.score:.3f}, "
                f"precision {one.best.precision:.3f}, recall {one.best.recall:.3f}"
            )
            chart.dot(one.best.recall, one.best.precision, f"f{colour}", tip)
    return figure(chart.markup())


def iou_chart(models: Models) -> Safe:
    """Mean average precision over the IoU that a match needs; of one model also its classes."""
    said = "; ".join(
        f"{label}: {number(one.mean_at_ious[0])} to {number(one.mean_at_ious[-1])}" for label, one in models.items()
    )
    axis = Axis("least IoU of a match", 0.5, 0.95, [(least, f"{least:g}") for least in IOUS[::2]])
    chart = Chart("AP over IoU", f"mean voc12 at IoU 0.50 to 0.95, {said}", axis, shares("AP (voc12)"))
    first = next(iter(models.values()))
    names = ["mean over the classes"] if len(models) == 1 else []
    if len(models) == 1 and len(first.classes) <= MOST_LINES:
        for place, one in enumerate(first.classes, start=1):
            tip = f"{one.name}: {number(one.over_ious)} on average"
            chart.line(_known(IOUS, one.at_ious), f"series thin s{place}", tip)
            names.append(one.name)
    for place, (label, analysis) in enumerate(models.items()):
        tip = f"{label}: mAP {number(analysis.mean_of('over_ious'))} on average"
        chart.line(_known(IOUS, analysis.mean_at_ious), f"series s{place % COLOURS}", tip)
    return tag("div", chart.markup(), legend(names) if names else None)


def _known(xs: Sequence[float], ys: Sequence[float | None]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]


def steps_chart(series: Mapping[str, Sequence[tuple[int, float]]]) -> Safe:
    """mAP over training steps, of the models that have such a history."""
    numbers = [value for points in series.values() for _, value in points]
    last = max(step for points in series.values() for step, _ in points)
    low, high = min(numbers), max(numbers)
    margin = max(high - low, 0.01) / 10
    axis = linear("mAP", max(low - margin, 0), min(high + margin, 1))
    said = "; ".join(f"{label}: best {max(value for _, value in points):.4f}" for label, points in series.items())
    chart = Chart("mAP over steps", said, linear("step", 0, last), axis)
    for place, (label, points) in enumerate(series.items()):
        chart.line(points, f"series s{place % COLOURS}", label)
        for step, value in points:
            chart.dot(step, value, f"f{place % COLOURS}", f"{label}, step {step}: {value:.4f}")
    return chart.markup()


def histogram_chart(analysis: Analysis) -> Safe:
    """How many true and false detections have which score."""
    bins = analysis.histogram.shape[1]
    false, true = analysis.histogram.tolist()
    said = f"{sum(true)} true and {sum(false)} false detections by score"
    chart = Chart("True and false detections", said, shares("score"), count_axis("detections", max(false + true)))
    for place in range(bins):
        low, width = place / bins, 1 / bins
        where = f"score {low:.2f} to {low + width:.2f}"
        for side, (kind, count) in enumerate((("no", false[place]), ("yes", true[place]))):
            span = (low + width * (0.08 + 0.42 * side), low + width * (0.5 + 0.42 * side))
            if count:
                chart.bar(span, count, kind, f"{where}: {count} {'true' if side else 'false'}")
    return chart.markup()


def reliability_chart(found: Calibration) -> Safe:
    """The share of true detections in each bin of scores, beside the mean score."""
    said = f"expected calibration error {number(found.error)}"
    chart = Chart("Reliability", said, shares("mean score of the bin"), shares("share of true detections"))
    bins = len(found.counts)
    for place, count in enumerate(found.counts.tolist()):
        if count:
            share, score = float(found.precision[place]), float(found.mean_scores[place])
            tip = f"{count} detections, mean score {score:.3f}, {share:.1%} of them true"
            chart.bar(((place + 0.06) / bins, (place + 0.94) / bins), share, "yes soft", tip)
    chart.line([(0, 0), (1, 1)], "ideal", "score = share of true ones")
    points = [(s, p) for s, p, n in zip(found.mean_scores, found.precision, found.counts, strict=True) if n]
    for score, share in points:
        chart.dot(float(score), float(share), "f0")
    return chart.markup()
