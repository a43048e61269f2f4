"""What is scored, and how: a model or files of detections, with some parameters replaced."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from pydantic import ValidationError

from ssdcli.options import Program
from ssdcli.output import progress_bar
from ssdcore.errors import ParamError
from ssdcore.params import EvalParams
from ssdcore.params.base import describe_errors

if TYPE_CHECKING:
    from ssdcore.evaluation import Evaluation, Evaluator
    from ssdcore.runs.checkpoint import Checkpoint

OF_FILES = ("eval.match_iou", "eval.inclusive_pixels", "eval.metric")
"""What can be changed where no detector runs."""


@dataclass(frozen=True)
class Wish:
    """What to score, on what, and what to leave behind; see the options."""

    source: Path
    data: Path
    split: str | None
    max_images: int | None
    averaged: bool
    out: Path | None
    annotations: Path | None
    threads: int | None
    assignments: tuple[str, ...]


def score_files(wish: Wish) -> tuple["Evaluation", dict[str, Any]]:
    from ssdcore.data.records.manifest import Manifest
    from ssdcore.evaluation.files import evaluate_files

    params = _metric_params(wish.assignments)
    split = wish.split or Manifest.load(wish.data).eval_split(None, "")
    result = evaluate_files(wish.source, wish.data, split, params, wish.max_images, wish.annotations)
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


def load(path: Path, assignments: Sequence[str]) -> "Checkpoint":
    """A checkpoint with some values of its param set replaced.

    Raises:
        ParamError: one would make it another model.
    """
    from ssdcore.runs.checkpoint import load_checkpoint

    for assignment in assignments:
        key = assignment.partition("=")[0]
        if not key.startswith("eval.") and key != "data.resize":
            raise ParamError(f"{assignment!r}: only eval.* and data.resize can be changed for an evaluation")
    checkpoint = load_checkpoint(path)
    return replace(checkpoint, params=checkpoint.params.override(assignments))


def find_split(checkpoint: "Checkpoint", wish: Wish) -> str:
    """The split to score on: the one that was asked for, else what suits the checkpoint."""
    from ssdcli.splits import split_of

    return wish.split or split_of(checkpoint, wish.data)


def make_evaluator(
    program: Program, checkpoint: "Checkpoint", wish: Wish
) -> tuple["Evaluator", Callable[["Checkpoint"], None]]:
    """An evaluator, and what gives its detector the weights of a checkpoint."""
    from ssdcore.evaluation import Evaluator
    from ssdcore.model import build_ssd
    from ssdcore.runs.checkpoint import assign_weights

    ssd = build_ssd(checkpoint.params, checkpoint.classes, program.plugins)
    split = find_split(checkpoint, wish)
    evaluator = Evaluator(ssd, wish.data, split, checkpoint.params.eval, wish.max_images, wish.threads)
    return evaluator, lambda one: assign_weights(ssd, one, wish.averaged)


def _warn_of_choice(checkpoint: "Checkpoint", wish: Wish, split: str) -> None:
    """Tells if the checkpoint was chosen by its score on the very images that it is scored on."""
    from ssdcli.splits import was_chosen_on

    if was_chosen_on(checkpoint, wish.data, split):
        click.echo(
            f"warning: {checkpoint.path} was chosen by its score on this very split {split!r}, which flatters it; "
            "for a fair number score a split that training did not look at",
            err=True,
        )


def score_model(program: Program, wish: Wish) -> tuple["Evaluation", dict[str, Any]]:
    from ssdcore.evaluation.write_results import ResultFiles
    from ssdcore.runs.run_folder import find_checkpoint

    checkpoint = load(find_checkpoint(wish.source), wish.assignments)
    evaluator, assign = make_evaluator(program, checkpoint, wish)
    split = find_split(checkpoint, wish)
    _warn_of_choice(checkpoint, wish, split)
    assign(checkpoint)
    with ExitStack() as stack:
        keep = {}
        if wish.out:
            files = ResultFiles(wish.out, split, checkpoint.classes, evaluator.truths)
            keep = {"on_image": stack.enter_context(files).add}
        with progress_bar("evaluating") as bar:
            result = evaluator.run(bar.update, **keep)
    facts = {"checkpoint": str(checkpoint.path), "step": checkpoint.progress.get("step", "?"), "split": split}
    return result, facts | ({"detections": str(wish.out)} if wish.out else {})
