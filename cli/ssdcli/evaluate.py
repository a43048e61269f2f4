"""`ssd eval`: score a detector, or files of detections."""

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from pydantic import ValidationError

from ssdcli.options import PathOption, Program, load_tensorflow, overrides, pass_program
from ssdcli.output import print_evaluation, print_json, print_scores, progress_bar
from ssdcore.errors import CheckpointError, ParamError
from ssdcore.params import EvalParams
from ssdcore.params.base import describe_errors

if TYPE_CHECKING:
    from ssdcore.checkpoint import Checkpoint
    from ssdcore.evaluation import Evaluation, Evaluator

METRICS = ("voc07", "voc12", "coco")
OF_FILES = ("eval.match_iou", "eval.inclusive_pixels", "eval.metric")
"""What can be changed where no detector runs."""


@dataclass(frozen=True)
class Wish:
    """What to score, on what, and what to leave behind; see the options."""

    source: Path
    data: Path
    split: str | None
    max_pictures: int | None
    averaged: bool
    out: Path | None
    annotations: Path | None
    assignments: tuple[str, ...]


@click.command("eval")
@click.argument("source", type=PathOption, metavar="MODEL|DETECTIONS")
@click.option("--data", required=True, type=PathOption, help="Folder of records (ssd data convert).")
@click.option("--split", help="Split to score on. Default: that of the param set, else test or val.")
@click.option("--metric", type=click.Choice(METRICS), help="11 recalls, area under the curve, or IoU .50 to .95.")
@click.option("--max-pictures", type=click.IntRange(1), help="Score the first so many only.")
@click.option("--weights", type=click.Choice(["averaged", "raw"]), help="Of a model that has both. Default: averaged.")
@click.option("--all", "every", is_flag=True, help="Score each kept checkpoint step-*.npz of a run folder.")
@click.option("--out", type=PathOption, help="Folder to make: detections as files of VOC and COCO; of --all steps.csv.")
@click.option("--annotations", type=PathOption, help="COCO's file that the numbers in a results file are from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@overrides
@pass_program
def evaluate(
    program: Program,
    /,
    *,
    metric: str | None,
    weights: str | None,
    every: bool,
    as_json: bool,
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
    wish = Wish(**options, averaged=weights != "raw", assignments=given)
    if is_results(wish.source):
        _refuse("a model", {"--weights": weights, "--all": every, "--out": wish.out})
        _show(*_score_files(wish), as_json)
        return
    _refuse("COCO's file of results", {"--annotations": wish.annotations})
    load_tensorflow()
    if every:
        _show_steps(_score_steps(program, wish), wish.out, as_json)
    else:
        _show(*_score_model(program, wish), as_json)


def _refuse(wanted: str, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value:
            raise click.UsageError(f"{name} is for {wanted}.")


def _show(result: "Evaluation", facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({**facts, **result.as_dict()})
    else:
        print_evaluation(result)
        click.echo(", ".join(f"{name}: {value}" for name, value in facts.items()))


def _score_files(wish: Wish) -> tuple["Evaluation", dict[str, Any]]:
    from ssdcore.data.manifest import Manifest
    from ssdcore.evaluation.files import evaluate_files

    params = _metric_params(wish.assignments)
    split = wish.split or Manifest.load(wish.data).eval_split(None, "")
    result = evaluate_files(wish.source, wish.data, split, params, wish.max_pictures, wish.annotations)
    return result, {"detections": str(wish.source), "split": split}


def _metric_params(assignments: Sequence[str]) -> EvalParams:
    """The parameters that files of detections can be scored by.

    Raises:
        ParamError: another one is named, or the value is invalid.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or key not in OF_FILES:
            raise ParamError(f"{assignment!r}: files of detections are scored by {', '.join(OF_FILES)} only")
        try:
            values[key.removeprefix("eval.")] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ParamError(f"{assignment!r}: the value is not valid YAML") from None
    try:
        return EvalParams.model_validate(values)
    except ValidationError as error:
        raise ParamError(f"overrides: eval.{describe_errors(EvalParams, error)}") from None


def _load(path: Path, assignments: Sequence[str]) -> "Checkpoint":
    """A checkpoint with some values of its param set replaced.

    Raises:
        ParamError: one would make it another model.
    """
    from ssdcore.checkpoint import load_checkpoint

    for assignment in assignments:
        key = assignment.partition("=")[0]
        if not key.startswith("eval.") and key != "data.resize":
            raise ParamError(f"{assignment!r}: only eval.* and data.resize can be changed for an evaluation")
    checkpoint = load_checkpoint(path)
    return replace(checkpoint, params=checkpoint.params.override(assignments))


def _evaluator(program: Program, checkpoint: "Checkpoint", wish: Wish) -> tuple["Evaluator", str, Callable[..., None]]:
    """An evaluator, the split that it scores on, and what gives its detector the weights of a checkpoint."""
    from ssdcore.checkpoint import assign_weights
    from ssdcore.data.manifest import Manifest
    from ssdcore.evaluation import Evaluator
    from ssdcore.model import build_ssd

    ssd = build_ssd(checkpoint.params, checkpoint.classes, program.plugins)
    manifest, wanted = Manifest.load(wish.data), checkpoint.params.data
    split = wish.split or manifest.eval_split(wanted.eval_split, wanted.train_split or "")
    chosen_on = wanted.eval_split == split and checkpoint.made.get("data_digest") == manifest.source
    if checkpoint.path.name == "best.npz" and chosen_on:
        click.echo(
            f"warning: {checkpoint.path} was chosen by its score on this very split {split!r}, which flatters it; "
            "for a fair number score a split that training did not look at",
            err=True,
        )
    evaluator = Evaluator(ssd, wish.data, split, checkpoint.params.eval, wish.max_pictures)
    return evaluator, split, lambda one: assign_weights(ssd, one, wish.averaged)


def _score_model(program: Program, wish: Wish) -> tuple["Evaluation", dict[str, Any]]:
    from ssdcore.evaluation.write_results import ResultFiles
    from ssdcore.run_folder import find_checkpoint

    checkpoint = _load(find_checkpoint(wish.source), wish.assignments)
    evaluator, split, assign = _evaluator(program, checkpoint, wish)
    assign(checkpoint)
    with ExitStack() as stack:
        keep = {}
        if wish.out:
            files = ResultFiles(wish.out, split, checkpoint.classes, evaluator.truths)
            keep = {"on_picture": stack.enter_context(files).add}
        with progress_bar("evaluating") as bar:
            result = evaluator.run(bar.update, **keep)
    facts = {"checkpoint": str(checkpoint.path), "step": checkpoint.progress.get("step", "?"), "split": split}
    return result, facts | ({"detections": str(wish.out)} if wish.out else {})


def _score_steps(program: Program, wish: Wish) -> list[tuple[int, "Evaluation"]]:
    """The scores of all kept checkpoints of a run, by step."""
    from ssdcore.data.output import require_unused
    from ssdcore.run_folder import RunFolder

    if wish.out:
        require_unused(wish.out)
    paths = RunFolder(wish.source).numbered()[::-1]
    if not paths:
        raise CheckpointError(f"{wish.source.absolute()} holds no checkpoints step-*.npz; give a run folder")
    checkpoints = (_load(path, wish.assignments) for path in paths)
    first = next(checkpoints)
    evaluator, _, assign = _evaluator(program, first, wish)
    scores = []
    with progress_bar("evaluating") as bar:
        for checkpoint in (first, *checkpoints):
            assign(checkpoint)
            result = evaluator.run(partial(bar.update, note=checkpoint.path.stem))
            scores.append((int(checkpoint.progress["step"]), result))
    return scores


def _show_steps(scores: Sequence[tuple[int, "Evaluation"]], out: Path | None, as_json: bool) -> None:
    if out:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["step", "map", *scores[0][1].average_precisions])
        for step, result in scores:
            writer.writerow([step, result.mean_average_precision, *result.average_precisions.values()])
        out.mkdir(parents=True, exist_ok=True)
        (out / "steps.csv").write_text(text.getvalue(), "utf-8")
    if as_json:
        print_json([{"step": step, **result.as_dict()} for step, result in scores])
    else:
        print_scores(scores)
