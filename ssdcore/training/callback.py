"""Callbacks of a training run."""

from collections.abc import Mapping

from ssdcore.errors import TrainingWarning
from ssdcore.evaluation import Evaluation
from ssdcore.weights import ImportReport


class TrainingCallback:
    """Override what you need; the methods do nothing.

    They are called between steps, in the thread that trains; an exception ends the run.
    """

    def on_weights(self, report: ImportReport) -> None:
        """The weights of a file were loaded into the detector."""

    def on_start(self, summary: str) -> None:
        """The run is about to begin; `summary` describes it in one line."""

    def on_warning(self, warning: TrainingWarning) -> None:
        """Something a person should know; training continues."""

    def on_stage(self, name: str, done: int, total: int) -> None:
        """A stage begins or continues, with `done` of its `total` steps taken."""

    def on_step(self, done: int, total: int) -> None:
        """A step was taken."""

    def on_log(self, row: Mapping[str, float | int | str]) -> None:
        """A row was written to metrics.csv."""

    def on_evaluation(self, step: int, evaluation: Evaluation, is_best: bool) -> None:
        """The model was evaluated."""
