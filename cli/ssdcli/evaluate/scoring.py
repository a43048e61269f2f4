"""What is scored, and how: a model or files of detections, with some parameters replaced."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psutil
import yaml
from pydantic import ValidationError

from ssdcli.options import Program
from ssdcli.output import progress_bar
from ssdcore.data.records.manifest import Manifest
from ssdcore.errors import ParamError, SsdError
from ssdcore.params import EvalParams
from ssdcore.params.base import describe_errors
from ssdcore.system.tensorflow import quiet_tensorflow
from ssdcore.types import OnProgress

if TYPE_CHECKING:
    from ssdcore.evaluation import Evaluation
    from ssdcore.evaluation.evaluate import Evaluator
    from ssdcore.runs.checkpoint import Checkpoint

OF_FILES = ("eval.match_iou", "eval.inclusive_pixels", "eval.metric")
"""What can be changed where no detector runs."""


@dataclass(frozen=True)
class EvalRequest:
    """What to score, on what, what to write, and what to use of the machine; see the options of the command."""

    source: Path
    data: Path
    split: str | None
    max_images: int | None
    averaged: bool
    out: Path | None
    annotations: Path | None
    threads: int | None
    memory: float | None
    every: int | None
    as_json: bool
    assignments: tuple[str, ...]


def limit_resources(request: EvalRequest) -> None:
    """Limits TensorFlow's threads, and the memory of each GPU; call it before TensorFlow is loaded."""
    if request.threads is not None:
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(request.threads)
    if request.memory is not None:
        with quiet_tensorflow():
            import tensorflow as tf

            for gpu in tf.config.list_physical_devices("GPU"):
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=int(request.memory * 1024))
                tf.config.set_logical_device_configuration(gpu, [limit])


def within_memory(on_batch: OnProgress, request: EvalRequest) -> OnProgress:
    """`on_batch`, ending the evaluation if this process takes more memory than was allowed."""
    if request.memory is None:
        return on_batch
    allowed, process = request.memory, psutil.Process()

    def checked(done: int, total: int) -> None:
        on_batch(done, total)
        if (used := process.memory_info().rss / 2**30) > allowed:
            raise SsdError(
                f"the evaluation takes {used:.2f} GiB, --memory allows {allowed:g}; give a smaller eval.batch_size, "
                "or more"
            )

    return checked


def score_files(request: EvalRequest) -> tuple["Evaluation", dict[str, Any]]:
    """The scores of files of detections, and facts about them."""
    from ssdcore.evaluation.read_results import evaluate_files

    params = _metric_params(request.assignments)
    split = request.split or Manifest.load(request.data).eval_split(None, "")
    result = evaluate_files(request.source, request.data, split, params, request.max_images, request.annotations)
    return result, {"detections": str(request.source), "split": split}


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


def make_evaluator(
    program: Program, checkpoint: "Checkpoint", request: EvalRequest
) -> tuple["Evaluator", Callable[["Checkpoint"], None]]:
    """An evaluator, and a function that gives its detector the weights of a checkpoint."""
    from ssdcore.evaluation.evaluate import Evaluator, eval_split
    from ssdcore.model import build_ssd
    from ssdcore.runs.checkpoint import assign_weights

    ssd = build_ssd(checkpoint.params, checkpoint.classes, program.plugins)
    split = request.split or eval_split(checkpoint, request.data)
    evaluator = Evaluator(ssd, request.data, split, checkpoint.params.eval, request.max_images, request.threads)
    return evaluator, lambda one: assign_weights(ssd, one, request.averaged)


def score_model(program: Program, request: EvalRequest) -> tuple["Evaluation", dict[str, Any]]:
    """The scores of a run folder or checkpoint, and facts about it."""
    from ssdcore.evaluation.evaluate import was_chosen_on
    from ssdcore.evaluation.write_results import write_results
    from ssdcore.runs.run_folder import find_checkpoint

    checkpoint = load(find_checkpoint(request.source), request.assignments)
    evaluator, assign = make_evaluator(program, checkpoint, request)
    split = evaluator.split
    if was_chosen_on(checkpoint, request.data, split):
        click.echo(
            f"warning: {checkpoint.path} was chosen by its score on this very split {split!r}, so its score here is "
            "too good; for a fair number score on a split that training did not use",
            err=True,
        )
    assign(checkpoint)
    with ExitStack() as stack:
        writing = {}
        if request.out:
            files = write_results(request.out, split, checkpoint.classes, evaluator.images)
            writing = {"on_image": stack.enter_context(files)}
        bar = stack.enter_context(progress_bar("evaluating"))
        result = evaluator.run(within_memory(bar.update, request), **writing)
    facts = {"checkpoint": str(checkpoint.path), "step": checkpoint.progress.get("step", "?"), "split": split}
    return result, facts | ({"detections": str(request.out)} if request.out else {})
