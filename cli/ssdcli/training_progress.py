"""Progress of a training run; imports TensorFlow."""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Self

import click

from ssdcli.advice import with_advice
from ssdcli.output import Bar, progress_bar
from ssdcore.errors import TrainingWarning
from ssdcore.evaluation import Evaluation
from ssdcore.training import TrainingCallback
from ssdcore.weights import ImportReport


class TrainingProgress(TrainingCallback):
    """A progress bar for each stage on a terminal; a line for each log row elsewhere."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._bar: Bar | None = None
        self._note = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def on_weights(self, report: ImportReport) -> None:
        click.echo(report.summary(), err=True)

    def on_start(self, summary: str) -> None:
        click.echo(summary, err=True)

    def on_warning(self, warning: TrainingWarning) -> None:
        click.echo(f"warning: {with_advice(warning)}", err=True)

    def on_stage(self, name: str, done: int, total: int) -> None:
        self._stack.close()
        click.echo(f"stage {name!r}: step {done} of {total}", err=True)
        if sys.stderr.isatty():
            self._bar = self._stack.enter_context(progress_bar(name))
            self._bar.update(done, total)

    def on_step(self, done: int, total: int) -> None:
        if self._bar:
            self._bar.update(done, total, self._note)

    def on_log(self, row: Mapping[str, float | int | str]) -> None:
        speed = f"  {row['images_per_second']:.3g} img/s" if "images_per_second" in row else ""
        self._note = f"loss {row['loss']:.3f}{speed}"
        if not self._bar:
            losses = f"loss {row['loss']:.3f} (class {row['class_loss']:.3f}, box {row['box_loss']:.3f})"
            click.echo(f"step {row['step']}  {losses}  rate {row['learning_rate']:.2g}{speed}", err=True)

    def on_evaluation(self, step: int, evaluation: Evaluation, is_best: bool) -> None:
        score = evaluation.mean_average_precision
        value = "n/a" if score is None else f"{score:.4f}"
        best = ", the best so far" if is_best else ""
        click.echo(f"step {step}  {evaluation.metric} mAP {value}{best}", err=True)
