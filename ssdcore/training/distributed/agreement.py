"""How several workers do the same after the same step."""

from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from ssdcore.errors import TrainingError
from ssdcore.training.distributed.devices import numbers_of_all, worker_count
from ssdcore.training.step import METRICS
from ssdcore.types import Tensor

_REQUESTS = [METRICS.index(name) for name in ("stop", "save", "end_stage")]


class Requests(NamedTuple):
    """Whether to stop the run, to save a checkpoint, and to end the stage."""

    stop: bool = False
    save: bool = False
    end_stage: bool = False


class Agreement:
    """The requests of all workers, exchanged through the metrics of each step.

    Metrics are read one step late so that nobody waits for them. One worker alone acts at once.
    """

    def __init__(self, strategy: Any) -> None:
        self._alone = worker_count(strategy) == 1
        self._previous: Tensor | None = None
        self._sent_save = False

    def to_send(self, own: Requests) -> Tensor:
        """This worker's requests for the next step, (3,) float32."""
        self._sent_save = own.save and not self._sent_save  # the previous step's request is still to be granted
        return tf.constant([own.stop, self._sent_save, own.end_stage], tf.float32)

    def after_step(self, own: Requests, metrics: Tensor) -> Requests:
        """What all workers do now: what any of them requested with the previous step."""
        if self._alone:
            return own
        previous, self._previous = self._previous, metrics
        return Requests() if previous is None else Requests(*(bool(previous[index] > 0) for index in _REQUESTS))


def require_same_step(strategy: Any, step: int, folder: Path) -> None:
    """Makes sure that all workers read the same checkpoint: a shared folder may show old files for a while.

    Raises:
        TrainingError: they did not.
    """
    steps = numbers_of_all(strategy, step)
    if len(set(steps)) > 1:
        listed = ", ".join(f"{one:.0f}" for one in steps)
        raise TrainingError(
            f"the workers read checkpoints of different steps ({listed}) in {folder.absolute()}; all of them need the "
            "same shared run folder",
            "workers_differ",
        )
