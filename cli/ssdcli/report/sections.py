"""The sections of the page about one model."""

from collections.abc import Sequence

from ssdcli.report import words
from ssdcli.report.galleries import Tile, gallery
from ssdcli.report.html import Content, Safe, figure, join, note, number, table, tag
from ssdcli.report.plots import (
    histogram_chart,
    iou_chart,
    precision_recall_charts,
    reliability_chart,
    steps_chart,
)
from ssdcli.report.scored import Scored
from ssdcli.report.svg import legend
from ssdcore.evaluation.analysis import Analysis, ClassScores
from ssdcore.evaluation.analysis.sizes import BANDS, SizeScores, over_classes


def classes(scored: Scored) -> Content:
    """Average precisions and best F1 of each class."""
    analysis = scored.analysis
    columns = (
        "class",
        "objects",
        "detections",
        "AP voc07",
        "AP voc12",
        "AP 0.50 to 0.95",
        "best F1",
        "at score",
        "precision",
        "recall",
    )
    means = [_bar(analysis.mean_of(name)) for name in ("voc07", "voc12", "over_ious")]
    counts = [f"{sum(getattr(one, name) for one in analysis.classes):,}" for name in ("objects", "detections")]
    best = [number(value) for value in _point(analysis)]
    whole = table(
        "Average precision, and the score threshold with the best F1, of each class",
        columns,
        [(one.name, _class_cells(one)) for one in analysis.classes],
        ("all classes", [*counts, *means, *best]),
    )
    text = (
        "AP 0.50 to 0.95 is the mean of voc12 at IoU 0.50, 0.55, … 0.95, near COCO's AP but by Pascal VOC's matching. "
        f"Detections are those above the score of {scored.checkpoint.params.eval.score_threshold:g}. F1 is the "
        "harmonic mean of precision and recall of the detections from a score on; its last row is of one threshold "
        "for all classes."
    )
    return [whole, note(text)]


def _class_cells(one: ClassScores) -> list[Content]:
    best = [number(value) for value in _point(one)]
    means = [_bar(value) for value in (one.voc07, one.voc12, one.over_ious)]
    return [f"{one.objects:,}", f"{one.detections:,}", *means, *best]


def _point(of: ClassScores | Analysis) -> list[float | None]:
    return [of.best.f1, of.best.score, of.best.precision, of.best.recall] if of.best else [None] * 4


def _bar(value: float | None, *more: Content) -> Safe:
    """A cell whose ground shows its share of 1."""
    return tag("td", number(value), more, class_="bar", style=f"--share:{100 * (value or 0):.1f}%")


def curves(scored: Scored) -> Content:
    """Precision-recall curves."""
    text = f"IoU {scored.analysis.matched.match_iou:g}. The point is the threshold with the best F1."
    return [note(text), precision_recall_charts({scored.label: scored.analysis})]


def errors(analysis: Analysis) -> Content:
    """Errors by kind."""
    at, least = analysis.at, analysis.matched.match_iou
    counts = analysis.error_counts()
    most = max(1, *(sum(row) for row in counts.values()))
    rows: list[tuple[Content, list[Content]]] = []
    for kind, row in counts.items():
        name, meaning = words.KINDS[kind]
        share = f"--share:{100 * sum(row) / most:.1f}%"
        total = tag("td", tag("strong", f"{sum(row):,}"), class_="bar broad", style=share)
        cells: list[Content] = [total, *(f"{count:,}" for count in row)]
        rows.append((name, [*cells, tag("td", meaning.format(iou=least), class_="words")]))
    caption = f"Errors of the detections from score {at.score:.3f} on, by class of the detection or the missed object"
    columns = [
        "kind",
        tag("th", "count", scope="col", class_="words"),
        *(one.name for one in analysis.classes),
        words.MEANING,
    ]
    text = (
        f"From score {at.score:.3f} on precision is {at.precision:.3f}, recall {at.recall:.3f}, F1 {at.f1:.3f}; "
        f"{int(analysis.errors.unfound.sum()):,} objects are not found. Kinds after TIDE (Bolya et al. 2020); "
        "each false detection has the first that fits, in the order localisation, classification, duplicate, "
        "background."
    )
    return [table(caption, columns, rows), note(text)]


def confusion(analysis: Analysis) -> Content:
    """The confusion matrix."""
    names = ["background", *(one.name for one in analysis.classes)]
    matrix = analysis.confusion
    order = [*range(1, len(names)), 0]
    rows: list[tuple[Content, list[Content]]] = []
    for row in order:
        cells: list[Content] = []
        for column in order:
            count, whole = int(matrix[row, column]), int(matrix[row].sum())
            blank = row == column == 0
            share = 0.55 * (count / whole) if whole else 0
            kind = "heat" if row == column else "wrong"
            percent = tag("small", f"{count / whole:.0%}") if whole and row else None
            cells.append(tag("td", None if blank else f"{count:,}", percent, class_=kind, style=f"--share:{share:.2f}"))
        rows.append((tag("em", "nothing there") if row == 0 else names[row], cells))
    columns = ["is … found as", *names[1:], tag("em", "nothing found")]
    at = f"score {analysis.at.score:.3f} and IoU {analysis.matched.match_iou:g}"
    text = (
        "A row holds the objects of a class and adds up to their number, a column the detections of a class; the "
        "last row are false alarms, the last column missed objects. On the diagonal are the true detections. A false "
        "one takes the object of another class that it overlaps most, if that is free and overlaps enough."
    )
    return [table(f"Objects and detections at {at}", columns, rows), note(text)]


def sizes(scored: Scored) -> Content:
    """Average precision by size, and by the IoU of a match."""
    analysis = scored.analysis
    metric = "voc07" if scored.checkpoint.params.eval.metric == "voc07" else "voc12"
    by = [("by area", analysis.by_area), ("of the image", analysis.by_share)]
    columns: list[Content] = ["class"]
    for title, _ in by:
        columns += [join([band, tag("small", title)]) for band in BANDS]
    rows: list[tuple[Content, list[Content]]] = [
        (one.name, _size_cells([*analysis.by_area[place], *analysis.by_share[place]]))
        for place, one in enumerate(analysis.classes)
    ]
    means = _size_cells([*over_classes(analysis.by_area), *over_classes(analysis.by_share)])
    text = (
        "By area as COCO has it: small below 32² px of the original image, large above 96² px. Of the image: "
        "√(area of the box / area of the image) below 0.1, 0.1 to 0.3, above 0.3. Objects of other sizes, and "
        "detections of them, count neither way."
    )
    fit = "How average precision falls as boxes must fit better."
    return [
        table(
            f"AP ({metric}, IoU {analysis.matched.match_iou:g}) by size of the object", columns, rows, ("mean", means)
        ),
        note(text),
        tag("div", figure(iou_chart({scored.label: analysis}), fit), class_="charts wide"),
    ]


def _size_cells(row: Sequence[SizeScores]) -> list[Content]:
    return [_bar(one.average_precision, tag("small", f"n = {one.objects:,}")) if one.objects else "-" for one in row]


def scores(analysis: Analysis) -> Content:
    """Scores of true and false detections, and calibration."""
    false, true = (
        tag("li", tag("span", class_=f"swatch {kind}"), text) for kind, text in (("no", "false"), ("yes", "true"))
    )
    counts = figure(
        histogram_chart(analysis),
        "Detections by score; the number is on a logarithmic scale.",
        tag("ul", true, false, class_="legend"),
    )
    whole, above = analysis.calibration.error, analysis.calibration_above.error
    text = (
        f"Bars: share of true detections in each tenth of scores; points: at the mean score of the tenth. On the "
        f"dashed line scores are what they claim to be. Expected calibration error {number(whole)}, and "
        f"{number(above)} from score {analysis.at.score:.3f} on: the mean over the detections of the distance between "
        "the two (Naeini et al. 2015, Guo et al. 2017)."
    )
    return tag("div", counts, figure(reliability_chart(analysis.calibration), text), class_="charts wide")


def training(scored: Scored) -> Safe:
    """mAP over the steps of the run."""
    metric = scored.checkpoint.params.eval.metric
    text = f"mAP ({metric}) of the evaluations while the run was trained, from its metrics.csv."
    names = legend(list(scored.steps)) if len(scored.steps) > 1 else None
    return tag("div", figure(steps_chart(scored.steps), names, text), class_="charts wide")


def key(analysis: Analysis) -> Content:
    """What the boxes in the galleries mean."""
    lines = [("truth", "object, as it was labelled (green, dashed)"), ("found", "detection (yellow, solid)")]
    items = [
        tag(
            "li",
            tag(
                "svg",
                tag("rect", x=2, y=2, width=30, height=10, class_="halo"),
                tag("rect", x=2, y=2, width=30, height=10, class_=style),
                viewBox="0 0 34 14",
                aria_hidden="true",
            ),
            text,
        )
        for style, text in lines
    ]
    text = (
        f"Detections from score {analysis.at.score:.3f} on. The boxes in question are thick, others thin. Images are "
        "cut out around them."
    )
    return [tag("ul", items, class_="legend key"), note(text)]


def kind_gallery(kind: str, tiles: Sequence[Tile]) -> Content:
    """The gallery of a kind of errors."""
    text = words.ORDER.get(kind, words.BEST_FIRST)
    return [tag("h3", words.GALLERIES[kind]), note(text), gallery(tiles)]
