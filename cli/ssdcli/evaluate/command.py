"""The command line of `ssd eval`."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ssdcli.evaluate.scoring import EvalRequest, limit_resources, score_files, score_model
from ssdcli.evaluate.steps import score_steps, show_steps
from ssdcli.evaluate.watch import watch_run
from ssdcli.options import PathOption, Program, overrides, pass_program
from ssdcli.output import print_evaluation, print_json
from ssdcore.system.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from ssdcore.evaluation import Evaluation

METRICS = ("voc07", "voc12", "coco")


@click.command("eval")
@click.argument("source", type=PathOption, metavar="MODEL|DETECTIONS")
@click.option("--data", required=True, type=PathOption, help="Folder of records (ssd data convert).")
@click.option("--split", help="Split to score on. Default: that of the param set, else test or val.")
@click.option("--metric", type=click.Choice(METRICS), help="11 recalls, area under the curve, or IoU .50 to .95.")
@click.option(
    "--max-images", "--max-pictures", "max_images", type=click.IntRange(1), help="Score the first images only."
)
@click.option("--weights", type=click.Choice(["averaged", "raw"]), help="Of a model that has both. Default: averaged.")
@click.option("--all", "all_steps", is_flag=True, help="Score each kept checkpoint step-*.npz of a run folder.")
@click.option("--watch", is_flag=True, help="Score the checkpoints of a run as they appear, into RUN/watch/SPLIT.csv.")
@click.option(
    "--every", type=click.IntRange(1), metavar="STEPS", help="With --all, --watch: minimum steps between checkpoints."
)
@click.option("--threads", type=click.IntRange(1), help="Threads to compute with. Default: all cores; 1 with --watch.")
@click.option("--memory", type=click.FloatRange(0, min_open=True), metavar="GIB", help="Memory limit.")
@click.option("--out", type=PathOption, help="Folder to make: detections as VOC and COCO files; with --all the curve.")
@click.option("--annotations", type=PathOption, help="COCO annotations that the ids in a results file are from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch a line for each checkpoint.")
@overrides
@pass_program
def evaluate(
    program: Program,
    /,
    *,
    metric: str | None,
    weights: str | None,
    all_steps: bool,
    watch: bool,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Score a detector: average precision of each class.

    MODEL is a run folder (its best checkpoint, else its last) or a checkpoint. DETECTIONS of any other detector are
    COCO's file of results, or a folder of VOC's files comp4_det_test_<class>.txt. KEY=VALUE replaces a value
    of eval, as in eval.match_iou=0.75, or data.resize.
    """
    from ssdcore.evaluation.read_results import is_results

    given = (*assignments, f"eval.metric={metric}") if metric else assignments
    request = EvalRequest(**options, averaged=weights != "raw", assignments=given)
    if is_results(request.source):
        several = {"--all": all_steps, "--watch": watch, "--every": request.every}
        of_computing = {"--threads": request.threads, "--memory": request.memory}
        _refuse("is for a model", {"--weights": weights, **several, "--out": request.out, **of_computing})
        _show(*score_files(request), request.as_json)
        return
    _refuse("is for COCO's file of results", {"--annotations": request.annotations})
    if watch:
        _refuse("does not go with --watch", {"--all": all_steps, "--out": request.out})
        request = replace(request, threads=request.threads or 1)
        if hasattr(os, "nice"):
            os.nice(19)
    elif not all_steps:
        _refuse("is for --all and --watch", {"--every": request.every})
    limit_resources(request)
    load_tensorflow()
    if watch:
        watch_run(program, request)
    elif all_steps:
        show_steps(score_steps(program, request), request)
    else:
        _show(*score_model(program, request), request.as_json)


def _refuse(why: str, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value:
            raise click.UsageError(f"{name} {why}.")


def _show(result: "Evaluation", facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({**facts, **result.as_dict()})
    else:
        print_evaluation(result)
        click.echo(", ".join(f"{name}: {value}" for name, value in facts.items()))
