"""The checkpoints of a run: the latest few, the best one, and the training state that makes resuming exact."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import CheckpointError, TrainingError
from ssdcore.files import link_atomic, write_atomic
from ssdcore.model import SSD
from ssdcore.params import ParamSet
from ssdcore.runs.checkpoint import AVERAGES_PREFIX, Checkpoint, assign_weights, save_checkpoint
from ssdcore.runs.run_folder import RunFolder
from ssdcore.training.averages import WeightAverages
from ssdcore.training.metrics import StepMetrics
from ssdcore.training.optimizers import Update
from ssdcore.training.precision import LossScale
from ssdcore.training.state import TrainingState

_AVERAGES, _SCALE, _OPTIMIZER = "training/averages/", "training/scale/", "training/optimizer/"
_METRICS = "training/window"


class CheckpointManager:
    """Saves and restores the checkpoints of a run.

    Attributes:
        averages: of the weights, if they are kept.
        scale: of the loss, if it is scaled.
    """

    def __init__(
        self,
        run: RunFolder,
        ssd: SSD,
        params: ParamSet,
        made: Mapping[str, Any],
        averages: WeightAverages | None,
        scale: LossScale | None,
    ) -> None:
        """`made` is the provenance of a new run; see `ssdcore.runs.provenance`."""
        self._run, self._ssd, self._params, self._made = run, ssd, params, made
        self.averages, self.scale = averages, scale
        self._groups = {AVERAGES_PREFIX: averages.variables, _AVERAGES: averages.state} if averages else {}
        self._groups |= {_SCALE: scale.state} if scale else {}
        self._saved_at = time.monotonic()

    def begin(self, state: TrainingState) -> None:
        """Creates the run folder, with a checkpoint of the untrained model."""
        self._run.checkpoints.mkdir(parents=True, exist_ok=True)
        self._write_params()
        classes = json.dumps(list(self._ssd.classes), ensure_ascii=False) + "\n"
        write_atomic(self._run.classes, classes.encode(), TrainingError)
        self.save(state, None, StepMetrics())

    def restore(self, checkpoint: Checkpoint) -> TrainingState:
        """Restores weights, averages and loss scale from `checkpoint`; returns its state.

        Raises:
            CheckpointError: the checkpoint does not hold them.
        """
        self._made = dict(checkpoint.made)
        assign_weights(self._ssd, checkpoint, averaged=False)
        for prefix, variables in self._groups.items():
            _assign_all(checkpoint, prefix, variables)
        return TrainingState.load(checkpoint.progress)

    def rewind(self, step: int) -> None:
        """Removes the checkpoints of later steps, since training continues from `step`."""
        for path in self._run.numbered():
            if path.name > self._run.at_step(step).name:
                path.unlink(missing_ok=True)
        self._write_params()

    def save(self, state: TrainingState, update: Update | None, metrics: StepMetrics) -> None:
        """Saves a checkpoint of this step as the last one; removes old ones and what killed runs left.

        Raises:
            CheckpointError: it cannot be written; the previous one stays whole.
        """
        path = self._run.at_step(state.step)
        groups = self._groups | ({_OPTIMIZER: _slots(update)} if update else {})
        arrays = _arrays(groups) | {_METRICS: metrics.values()}
        save_checkpoint(path, self._ssd, self._params, asdict(state), arrays, self._made)
        link_atomic(path, self._run.last, CheckpointError)
        for old in (*self._run.numbered()[self._params.train.keep :], *self._run.partial()):
            old.unlink(missing_ok=True)
        self._saved_at = time.monotonic()

    def save_best(self, state: TrainingState) -> None:
        """Saves the weights and their averages as the best checkpoint, with the errors of `save`."""
        averages = _arrays({AVERAGES_PREFIX: self._groups.get(AVERAGES_PREFIX, {})})
        save_checkpoint(self._run.best, self._ssd, self._params, asdict(state), averages, self._made)

    @property
    def overdue(self) -> bool:
        """Whether the last checkpoint is older than `train.save_minutes`."""
        return time.monotonic() - self._saved_at > 60 * self._params.train.save_minutes

    def _write_params(self) -> None:
        write_atomic(self._run.params, self._params.to_yaml().encode(), TrainingError)


def restore_optimizer(checkpoint: Checkpoint, update: Update, steps: int) -> StepMetrics:
    """Restores an optimizer's slots and step count; returns the metrics of the steps that had no row yet.

    Raises:
        CheckpointError: the checkpoint holds no state of this optimizer.
    """
    _assign_all(checkpoint, _OPTIMIZER, _slots(update))
    update.optimizer.iterations.assign(steps)
    return StepMetrics(np.asarray(checkpoint.arrays[_METRICS]))


def _slots(update: Update) -> dict[str, Any]:
    return {f"{number:04d}": variable for number, variable in enumerate(update.state)}


def _arrays(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    return {prefix + name: one.numpy() for prefix, variables in groups.items() for name, one in variables.items()}


def _assign_all(checkpoint: Checkpoint, prefix: str, variables: Mapping[str, Any]) -> None:
    saved = checkpoint.below(prefix)
    if {name: value.shape for name, value in saved.items()} != {n: tuple(v.shape) for n, v in variables.items()}:
        raise CheckpointError(
            f"{checkpoint.path.absolute()} holds no state of this training ({prefix.split('/')[-2]}); start a new run "
            "from its weights (train.weights=FILE)"
        )
    for name, variable in variables.items():
        variable.assign(saved[name])
