"""`ssd report`: a page about one detector, or several side by side."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from ssdcli.options import Images, PathOption, Program, pass_program
from ssdcli.output import print_json, progress_bar, short_names
from ssdcore.system.tensorflow import load_tensorflow


@click.command()
@click.argument("models", nargs=-1, required=True, type=PathOption, metavar="MODEL...")
@click.option("--data", required=True, type=PathOption, help="Folder of records (ssd data convert).")
@click.option("--split", help="Split to evaluate on. Default: that of the first model's param set, else test or val.")
@click.option("--out", type=PathOption, help="Folder to create. Default for a single run folder: report/ in it.")
@click.option("--score", type=click.FloatRange(0, 1), help="Score threshold for counting errors. Default: best F1.")
@click.option(
    "--max-images", "--max-pictures", "max_images", type=click.IntRange(1), help="Evaluate only the first N images."
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
    score: float | None,
    max_images: int | None,
    as_json: bool,
) -> None:
    """Report how good a detector is and where it fails, as an HTML page.

    MODEL is a run folder (its best checkpoint, else its last) or a checkpoint; several are compared with the
    first. The page is index.html in the folder, a single file that needs no network; the numbers are beside it as
    JSON and CSV. An older report there is replaced.
    """
    target = out or _default_out(models)
    load_tensorflow()
    from ssdcli.report.page import render
    from ssdcli.report.scored import score_model
    from ssdcli.report.tables import PAGE, numbers, require_free, write_report
    from ssdcore.evaluation.evaluate import eval_split
    from ssdcore.runs.checkpoint import load_checkpoint
    from ssdcore.runs.run_folder import find_checkpoint

    require_free(target)
    first, *_ = [load_checkpoint(find_checkpoint(path)) for path in models]  # all before the first is evaluated
    images = Images(data, split or eval_split(first, data), max_images)
    scored = []
    with progress_bar("evaluating") as bar:
        for path, label in zip(models, short_names(models), strict=True):
            update: Any = partial(bar.update, note=label)
            scored.append(score_model(path, label, images, score, program.plugins, update))
    write_report(target, render(scored, images), scored, images)
    if as_json:
        print_json({"report": str(target / PAGE), **numbers(scored, images)})
        return
    for model in scored:
        value = model.evaluation.mean_average_precision
        mean = "n/a" if value is None else f"{value:.4f}"
        click.echo(f"{model.label}: mAP {mean} ({model.evaluation.metric})")
    click.echo(f"report: {target / PAGE}")


def _default_out(models: tuple[Path, ...]) -> Path:
    if len(models) > 1 or models[0].is_file():
        raise click.UsageError("--out is needed: only the report of a single run folder has a default folder.")
    return models[0] / "report"
