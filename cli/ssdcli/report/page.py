"""The page about one model."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import ssdcore
from ssdcli.report import sections, words
from ssdcli.report.galleries import Tile
from ssdcli.report.html import Content, Safe, contents_list, facts, join, note, number, page, section, tag
from ssdcli.report.scored import Scored, Where


def model_page(scored: Scored, where: Where, tiles: Mapping[str, Sequence[Tile]]) -> str:
    """The whole page."""
    title = f"{scored.label} on {where.split}"
    analysis = scored.analysis
    named = {
        "Classes": sections.classes(scored),
        "Precision and recall": sections.curves(scored),
        "Errors": sections.errors(analysis),
        "What is taken for what": sections.confusion(analysis),
        "Size and fit": sections.sizes(scored),
        "Scores": sections.scores(analysis),
        "Training": sections.training(scored) if scored.steps else None,
        "Images": [
            sections.key(analysis),
            [sections.kind_gallery(kind, tiles[kind]) for kind in words.GALLERIES if tiles[kind]],
        ],
    }
    shown = {name: content for name, content in named.items() if content}
    return page(
        title,
        tag("header", tag("h1", title), tag("p", _subtitle(scored), class_="lead"), contents_list(shown)),
        _warning(scored),
        _headline(scored),
        facts(_facts(scored, where)),
        [section(name, content) for name, content in shown.items()],
        footer(),
    )


def footer() -> Safe:
    """When and by what a page was made."""
    made = f"Made by ssd report {ssdcore.__version__} on {datetime.now():%Y-%m-%d %H:%M}. The numbers are also in "
    return tag("footer", tag("p", made, tag("code", "report.json"), " and in the tables beside it.", class_="note"))


def _subtitle(scored: Scored) -> str:
    params, analysis = scored.checkpoint.params, scored.analysis
    height, width = params.model.image_size
    return (
        f"{params.backbone}, {params.model.name}, {width} x {height} px. {analysis.images:,} images, "
        f"{sum(one.objects for one in analysis.classes):,} objects of {len(analysis.classes)} classes."
    )


def _warning(scored: Scored) -> Safe | None:
    if not scored.chosen_here:
        return None
    text = (
        "This checkpoint was chosen by its score on this very split, which flatters it. For a fair number score a "
        "split that training did not look at."
    )
    return tag("p", text, class_="warning")


def _headline(scored: Scored) -> Safe:
    evaluation, analysis = scored.evaluation, scored.analysis
    mean = evaluation.mean_average_precision
    tiles = [_tile("mAP, " + evaluation.metric, number(mean), _of_metric(scored), first=True)]
    for name, title in (("voc07", "mAP, voc07"), ("voc12", "mAP, voc12")):
        if name != evaluation.metric:
            tiles.append(_tile(title, number(analysis.mean_of(name)), f"IoU {analysis.matched.match_iou:g}"))
    tiles.append(_tile("mAP 0.50 to 0.95", number(analysis.mean_of("over_ious")), "voc12 over ten IoUs"))
    if analysis.best:
        best = analysis.best
        text = f"precision {best.precision:.3f}, recall {best.recall:.3f}, from score {best.score:.3f} on"
        tiles.append(_tile("best F1", number(best.f1), text))
    definition = f"mAP, {evaluation.metric}: {words.METRICS[evaluation.metric]}. "
    rule = words.MATCH.format(iou=analysis.matched.match_iou)
    return join([tag("div", tiles, class_="tiles"), note(definition, rule)])


def _of_metric(scored: Scored) -> str:
    least = scored.evaluation.match_iou
    return "IoU 0.50 to 0.95" if least is None else f"IoU {least:g}; the metric of the run"


def _tile(title: str, value: str, text: str, first: bool = False) -> Safe:
    parts = tag("span", title), tag("b", value), tag("span", text)
    return tag("div", parts, class_="tile first" if first else "tile")


def _facts(scored: Scored, where: Where) -> dict[str, Content]:
    analysis, params = scored.analysis, scored.checkpoint.params.eval
    return {
        "Checkpoint": str(scored.checkpoint.path),
        "Step": str(scored.checkpoint.progress.get("step", "not known")),
        "Data": f"{where.data}, split {where.split}",
        "Images": f"{analysis.images:,}",
        "Objects": f"{sum(one.objects for one in analysis.classes):,}, and {analysis.difficult:,} difficult ones "
        "that need not be found",
        "Detections": f"scores above {params.score_threshold:g}, suppression at IoU {params.nms_iou:g}, "
        f"at most {params.keep} an image",
    }
