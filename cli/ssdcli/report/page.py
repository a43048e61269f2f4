"""Renders the HTML pages from their templates."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import ssdcore
from ssdcli.options import Images
from ssdcli.report import charts
from ssdcli.report.galleries import make_galleries
from ssdcli.report.scored import ScoredModel
from ssdcore.evaluation.analysis import Analysis
from ssdcore.evaluation.analysis.matched import IOUS
from ssdcore.evaluation.analysis.sizes import BANDS, over_classes

HEADLINES: dict[str, tuple[int, Callable[[Analysis], float | None]]] = {
    "mAP voc07": (1, lambda one: one.mean_of("voc07")),
    "mAP voc12": (1, lambda one: one.mean_of("voc12")),
    "mAP 0.50 to 0.95": (1, lambda one: one.mean_of("over_ious")),
    "best F1": (1, lambda one: one.best and one.best.f1),
    "precision at best F1": (1, lambda one: one.best and one.best.precision),
    "recall at best F1": (1, lambda one: one.best and one.best.recall),
    "score of best F1": (0, lambda one: one.best and one.best.score),
    "expected calibration error": (-1, lambda one: one.calibration.error),
}
"""Numbers of a comparison: name -> whether more is better (1), worse (-1) or neither (0), and how to get it."""


def render(models: Sequence[ScoredModel], images: Images) -> str:
    """The page about one model, or the one that compares several with the first."""
    shared = {"model": models[0], "analysis": models[0].analysis, "images": images}
    if len(models) > 1:
        return environment().get_template("comparison.html.j2").render(**shared, **_comparison(models))
    return environment().get_template("model.html.j2").render(**shared, **_single(models[0], images))


def environment() -> Environment:
    """The Jinja environment: templates, filters and globals."""
    jinja = Environment(
        loader=PackageLoader("ssdcli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters.update(number=charts.number, count="{:,}".format, difference=difference, mean_of=Analysis.mean_of)
    jinja.globals.update(dashes=charts.DASHES, bands=BANDS, ious=IOUS, now=datetime.now, version=ssdcore.__version__)
    return jinja


def difference(value: float | None, base: float | None, better: int = 1, digits: int = 3) -> Markup:
    """A value's difference from a base, with its sign; empty where one of them is unknown.

    More is `better` (1), worse (-1) or neither (0).
    """
    if value is None or base is None:
        return Markup()
    more = round(value - base, digits)
    kind = ("worse", "same", "better")[1 + better * ((more > 0) - (more < 0))]
    sign = "\N{PLUS-MINUS SIGN}" if more == 0 else "+" if more > 0 else "\N{MINUS SIGN}"
    return Markup('<span class="difference {}">{}{:.{}f}</span>').format(kind, sign, abs(more), digits)


def _single(model: ScoredModel, images: Images) -> dict[str, Any]:
    analysis, one = model.analysis, {model.label: model.analysis}
    return {
        "curves": _curves(one),
        "iou_chart": charts.iou_chart(one),
        "iou_classes": charts.iou_classes(one),
        "histogram_chart": charts.histogram_chart(analysis),
        "reliability_chart": charts.reliability_chart(analysis.calibration),
        "steps_chart": charts.steps_chart(model.steps) if model.steps else None,
        "mean_sizes": [*over_classes(analysis.by_area), *over_classes(analysis.by_share)],
        "galleries": make_galleries(model, images),
    }


def _comparison(models: Sequence[ScoredModel]) -> dict[str, Any]:
    analyses = {model.label: model.analysis for model in models}
    series = {
        model.label if name == "training" else f"{model.label}, {name}": points
        for model in models
        for name, points in model.steps.items()
    }
    return {
        "models": models,
        "headlines": [
            (name, better, [value(one) for one in analyses.values()]) for name, (better, value) in HEADLINES.items()
        ],
        "curves": _curves(analyses),
        "iou_chart": charts.iou_chart(analyses),
        "series": series,
        "steps_chart": charts.steps_chart(series) if series else None,
    }


def _curves(analyses: Mapping[str, Analysis]) -> list[tuple[str, Markup]]:
    """The name of each class, and its chart."""
    names = [one.name for one in next(iter(analyses.values())).classes]
    return [
        (name, charts.precision_recall_chart({label: one.classes[index] for label, one in analyses.items()}))
        for index, name in enumerate(names)
    ]
