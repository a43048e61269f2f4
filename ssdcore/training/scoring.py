"""Evaluations during training, on a copy of the detector."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssdcore.errors import TrainingError
from ssdcore.evaluation import Evaluation
from ssdcore.evaluation.evaluate import Evaluator
from ssdcore.evaluation.validation_loss import ValidationLoss
from ssdcore.model import SSD
from ssdcore.model.variables import named_variables
from ssdcore.params import ParamSet


@dataclass(frozen=True)
class Score:
    """An evaluation, and the validation loss if that is monitored."""

    evaluation: Evaluation
    loss: float | None = None

    @property
    def value(self) -> float | None:
        """The monitored value; None if the split has no ground truth."""
        return self.evaluation.mean_average_precision if self.loss is None else self.loss

    def better_than(self, best: float | None) -> bool:
        """Whether the value is better than the best one so far, which is None at first."""
        if self.value is None or best is None:
            return self.value is not None
        return self.value > best if self.loss is None else self.value < best

    def row(self) -> dict[str, float]:
        """The columns of metrics.csv."""
        values = {"map": self.evaluation.mean_average_precision, "eval_loss": self.loss}
        return {name: value for name, value in values.items() if value is not None}


class Scorer:
    """Scores weights in a copy of the detector.

    The copy computes in float32 on one device, and takes averages of weights as well as the weights
    themselves.
    """

    def __init__(self, copy: SSD, params: ParamSet, folder: Path, split: str) -> None:
        """Prepares evaluations on a split of a folder of records.

        Raises:
            DataError: folder or split are missing.
        """
        self._copy, self._batch_size = copy, params.eval.batch_size
        self._evaluator = Evaluator(copy, folder, split, params.eval)
        monitors_loss = params.train.monitor == "loss"
        self._loss = ValidationLoss(copy, params.train.loss, folder, split, self._batch_size) if monitors_loss else None

    def score(self, variables: Mapping[str, Any], on_batch: Callable[[int, int], None]) -> Score:
        """Scores the weights in `variables`, by name; `on_batch` gets the number of images done and in total."""
        for name, variable in named_variables(self._copy).items():
            variable.assign(variables[name].numpy())
        try:
            evaluation = self._evaluator.run(on_batch)
        except tf.errors.ResourceExhaustedError:
            raise TrainingError(
                f"an evaluation of {self._batch_size} images at a time does not fit into memory beside the training; "
                "use a smaller eval.batch_size",
                "evaluation_out_of_memory",
            ) from None
        return Score(evaluation, self._loss.mean(on_batch) if self._loss else None)
