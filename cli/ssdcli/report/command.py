"""`ssd report`: a page about one detector, or several side by side."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssdcli.labels import labels
from ssdcli.options import PathOption, Program, load_tensorflow, pass_program
from ssdcli.output import print_json, progress_bar

if TYPE_CHECKING:
    from ssdcli.report.scored import Scored, Where


@click.command()
@click.argument("models", nargs=-1, required=True, type=PathOption, metavar="MODEL...")
@click.option("--data", required=True, type=PathOption, help="Folder of records (ssd data convert).")
@click.option("--split", help="Split to score on. Default: that of the first model's param set, else test or val.")
@click.option("--out", type=PathOption, help="Folder to make. Default, of one run folder: report/ in it.")
@click.option("--score", type=click.FloatRange(0, 1), help="From which on errors are counted. Default: best F1.")
@click.option(
    "--max-images", "--max-pictures", "max_images", type=click.IntRange(1), help="Score the first so many only."
)
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@pass_program
def report(
    program: Program,
    /,
    *,
    models: tuple[Path, ...],
    data: Path,
    split: str | None,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show how good a detector is and where it fails: a page to look at.

    MODEL is a run folder (its best checkpoint, else its last) or a checkpoint; several are compared with the
    first. The page is index.html in the folder, in one file that needs no network; the numbers are beside it as
    JSON and CSV. An older report there is replaced.
    """
    target = out or _default_out(models)
    load_tensorflow()
    from ssdcli.report.scored import Where, open_model
    from ssdcli.report.tables import PAGE, numbers, require_free, write_report
    from ssdcli.splits import split_of

    require_free(target)
    first, *_ = [open_model(path) for path in models]  # all of them, so that nothing is scored in vain
    where = Where(data, split or split_of(first, data), **options)
    scored = _score_all(program, models, where)
    write_report(target, _page(scored, where), scored, where)
    if as_json:
        print_json({"report": str(target / PAGE), **numbers(scored, where)})
    else:
        for one in scored:
            click.echo(f"{one.label}: mAP {_mean(one)}")
        click.echo(f"report: {target / PAGE}")


def _default_out(models: tuple[Path, ...]) -> Path:
    if len(models) > 1 or models[0].is_file():
        raise click.UsageError("--out is needed: only the report of one run folder has a place of its own.")
    return models[0] / "report"


def _score_all(program: Program, models: tuple[Path, ...], where: "Where") -> "list[Scored]":
    from ssdcli.report.scored import score_model

    scored = []
    with progress_bar("evaluating") as bar:
        for path, label in zip(models, labels(models), strict=True):
            scored.append(score_model(path, label, where, program.plugins, partial(bar.update, note=label)))
    return scored


def _page(scored: "list[Scored]", where: "Where") -> str:
    if len(scored) > 1:
        from ssdcli.report.compare import comparison_page

        return comparison_page(scored, where)
    from ssdcli.report.galleries import cut_all
    from ssdcli.report.page import model_page

    return model_page(scored[0], where, cut_all(scored[0], where.data, where.split))


def _mean(one: "Scored") -> str:
    value = one.evaluation.mean_average_precision
    return f"{'n/a' if value is None else f'{value:.4f}'} ({one.evaluation.metric})"
