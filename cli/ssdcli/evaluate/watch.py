"""Scores of a run's checkpoints while it is being trained."""

import json
import sys
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import click

from ssdcli.evaluate.scoring import Wish, find_split, load, make_evaluator
from ssdcli.options import Program
from ssdcli.output import progress_bar
from ssdcore.errors import CheckpointError
from ssdcore.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from ssdcore.evaluation import Evaluation, Evaluator


def watch_run(program: Program, wish: Wish, every: int, as_json: bool) -> None:
    """Scores each checkpoint of a run as it appears, until training has ended."""
    from ssdcore.data.records.manifest import Manifest
    from ssdcore.training.watch import await_run, watching

    run = RunFolder(wish.source)
    if run.root.is_file() or (run.root.suffix == ".npz" and not run.root.exists()):
        what = "is a file" if run.root.is_file() else "is named like a checkpoint"
        raise CheckpointError(f"{run.root.absolute()} {what}; --watch wants the run folder of a training")
    Manifest.load(wish.data)
    await_run(run, _tell)
    first = load(run.last, wish.assignments)
    split, metric = find_split(first, wish), first.params.eval.metric
    count = 0
    with watching(run, split, metric, every, _tell) as watch:
        evaluator, assign = make_evaluator(program, first, wish)
        for checkpoint in watch.checkpoints():
            assign(checkpoint)
            step = int(checkpoint.progress["step"])
            result = _score(evaluator, step)
            if watch.add(checkpoint, result):
                count += 1
                best = watch.best()
                _show(step, split, result, best is not None and best[1] == step, as_json)
            else:
                _tell(f"training went back behind step {step}, its score does not count")
        how = "training is over" if watch.is_over() else "training has ended before its end"
        best = watch.best()
    of_them = f", the best at step {best[1]}: {metric} mAP {best[0]:.4f}" if best else ""
    _tell(f"{how}; {count} checkpoints scored on {split!r}{of_them}")


def _score(evaluator: "Evaluator", step: int) -> "Evaluation":
    with progress_bar("evaluating") if sys.stderr.isatty() else nullcontext() as bar:
        return evaluator.run(partial(bar.update, note=f"step {step}")) if bar else evaluator.run()


def _show(step: int, split: str, result: "Evaluation", is_best: bool, as_json: bool) -> None:
    """A line for each checkpoint, at once."""
    if as_json:
        line = json.dumps({"step": step, "split": split, "best": is_best, **result.as_dict()}, ensure_ascii=False)
    else:
        score = result.mean_average_precision
        value = "n/a" if score is None else f"{score:.4f}"
        line = f"step {step}  {result.metric} mAP {value}{', the best so far' if is_best else ''}"
    click.echo(line)
    sys.stdout.flush()


def _tell(message: str) -> None:
    click.echo(message, err=True)
