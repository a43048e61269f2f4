"""The page that shows several models side by side; differences are to the first."""

from collections.abc import Callable, Sequence

from ssdcli.report import words
from ssdcli.report.html import Content, difference, facts, figure, join, note, number, page, section, table, tag
from ssdcli.report.page import footer
from ssdcli.report.plots import iou_chart, precision_recall_charts, steps_chart
from ssdcli.report.scored import Scored, Where
from ssdcli.report.svg import legend
from ssdcore.evaluation.analysis import Analysis, ClassScores

NUMBERS: dict[str, tuple[int, Callable[[Analysis], float | None]]] = {
    "mAP voc07": (1, lambda one: one.mean_of("voc07")),
    "mAP voc12": (1, lambda one: one.mean_of("voc12")),
    "mAP 0.50 to 0.95": (1, lambda one: one.mean_of("over_ious")),
    "best F1": (1, lambda one: one.best and one.best.f1),
    "precision at best F1": (1, lambda one: one.best and one.best.precision),
    "recall at best F1": (1, lambda one: one.best and one.best.recall),
    "score of best F1": (0, lambda one: one.best and one.best.score),
    "expected calibration error": (-1, lambda one: one.calibration.error),
}
"""Name -> whether more is better (1), worse (-1) or neither (0), and how to get it."""


def comparison_page(models: Sequence[Scored], where: Where) -> str:
    """The whole page."""
    title = f"{len(models)} models on {where.split}"
    analyses = {one.label: one.analysis for one in models}
    first = models[0].analysis
    lead = f"{first.images:,} images, {sum(one.objects for one in first.classes):,} objects in {where.data}."
    history = {_series(one, name): points for one in models for name, points in one.steps.items()}
    return page(
        title,
        tag("header", tag("h1", title), tag("p", lead, class_="lead")),
        _headline(models),
        section("Classes", [_classes(models, value, name) for value, name in (("voc07", "voc07"), ("voc12", "voc12"))]),
        section("Precision and recall", legend(list(analyses)), precision_recall_charts(analyses)),
        section(
            "Fit of the boxes",
            legend(list(analyses)),
            tag(
                "div", figure(iou_chart(analyses), "Mean voc12 over the IoU that a match needs."), class_="charts wide"
            ),
        ),
        section("Errors", _errors(models)),
        section(
            "Training",
            legend(list(history)),
            tag("div", figure(steps_chart(history), _steps_text(models)), class_="charts wide"),
        )
        if history
        else None,
        footer(),
    )


def _series(one: Scored, name: str) -> str:
    return one.label if name == "training" else f"{one.label}, {name}"


def _headline(models: Sequence[Scored]) -> Content:
    labels = [one.label for one in models]
    rows: list[tuple[Content, list[Content]]] = []
    for name, (better, value) in NUMBERS.items():
        values = [value(one.analysis) for one in models]
        rows.append((name, _cells(values, better)))
    rows.append(("errors", [f"{sum(map(sum, one.analysis.error_counts().values())):,}" for one in models]))
    rows.append(("least IoU of a match", [f"{one.analysis.matched.match_iou:g}" for one in models]))
    rows.append(("scores above", [f"{one.evaluation.score_threshold:g}" for one in models]))
    rows.append(("step", [str(one.checkpoint.progress.get("step", "not known")) for one in models]))
    text = f"mAP voc07: {words.METRICS['voc07']}. mAP voc12: {words.METRICS['voc12']}. "
    chosen = [one.label for one in models if one.chosen_here]
    flattered = f"Chosen by its score on this very split, which flatters it: {', '.join(chosen)}. " if chosen else ""
    warning = tag("p", flattered, class_="warning") if chosen else None
    rule = words.MATCH.format(iou=models[0].analysis.matched.match_iou)
    return [
        warning,
        table("Headline numbers; differences are to the first model", ["number", *labels], rows),
        note(text, rule),
        facts({f"Checkpoint of {one.label}": str(one.checkpoint.path) for one in models}),
    ]


def _cells(values: Sequence[float | None], better: int = 1) -> list[Content]:
    first, *others = values
    return [number(first), *(join([number(value), difference(value, first, better)]) for value in others)]


def _classes(models: Sequence[Scored], value: str, name: str) -> Content:
    def of(one: ClassScores) -> float | None:
        found: float | None = getattr(one, value)
        return found

    classes = models[0].analysis.classes
    rows: list[tuple[Content, list[Content]]] = [
        (one.name, [f"{one.objects:,}", *_cells([of(model.analysis.classes[place]) for model in models])])
        for place, one in enumerate(classes)
    ]
    means = _cells([model.analysis.mean_of(value) for model in models])
    total = f"{sum(one.objects for one in classes):,}"
    columns = ["class", "objects", *(model.label for model in models)]
    return table(f"Average precision of each class, {name}", columns, rows, ("mean", [total, *means]))


def _errors(models: Sequence[Scored]) -> Content:
    counts = [one.analysis.error_counts() for one in models]
    rows: list[tuple[Content, list[Content]]] = []
    for kind, (name, meaning) in words.KINDS.items():
        cells: list[Content] = [f"{sum(one[kind]):,}" for one in counts]
        said = meaning.format(iou=models[0].analysis.matched.match_iou)
        rows.append((name, [*cells, tag("td", said, class_="words")]))
    heads = [join([one.label, tag("small", f"from score {one.analysis.at.score:.3f}")]) for one in models]
    return table("Errors by kind, each model from its own score on", ["kind", *heads, words.MEANING], rows)


def _steps_text(models: Sequence[Scored]) -> str:
    metrics = {one.checkpoint.params.eval.metric for one in models if one.steps}
    return f"mAP ({', '.join(sorted(metrics))}) of the evaluations while the runs were trained, each on its own data."
