"""The position of a run in its stages, and how long the stages are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ssdcore.params import Stage


@dataclass
class TrainingState:
    """The position of a run; every checkpoint carries it.

    Attributes:
        images: size of the training split, on which the length of stages depends.
        stage: index of the stage.
        stage_step: its steps taken.
        stage_over: it was stopped early.
        step: steps taken in all stages.
        rows: rows of metrics.csv up to this step.
        best: the best value of what is monitored.
        since_best: evaluations of this stage since then.
        evaluation_due: the evaluation that follows the last step has not been done.
        retries: restarts from a checkpoint after non-finite steps, without many good steps between them.
        non_finite_step: the latest non-finite step.
        rate_scale: factor on all learning rates since then.
        halvings: how often the batch was halved because it did not fit into memory.
        undecodable: number of images left out because they cannot be decoded.
        left_out: their indices in the training split.
    """

    images: int
    stage: int = 0
    stage_step: int = 0
    stage_over: bool = False
    step: int = 0
    rows: int = 0
    best: float | None = None
    since_best: int = 0
    evaluation_due: bool = False
    retries: int = 0
    non_finite_step: int = 0
    rate_scale: float = 1.0
    halvings: int = 0
    undecodable: int = 0
    left_out: list[int] = field(default_factory=list)

    @classmethod
    def load(cls, progress: Mapping[str, Any]) -> Self:
        """The state that a checkpoint carries."""
        renamed = {"fault_step": "non_finite_step"}  # in checkpoints of 0.1.0 development versions
        return cls(**{renamed.get(name, name): value for name, value in progress.items()})

    def stage_done(self, stages: Sequence[Stage]) -> bool:
        """Whether the stage has ended."""
        stage = halved(stages[self.stage], self.halvings)
        return self.stage_over or self.stage_step >= stage_steps(stage, self.images)

    def run_done(self, stages: Sequence[Stage]) -> bool:
        """Whether the last stage has ended and been evaluated."""
        return self.stage_done(stages) and not self.evaluation_due and self.stage + 1 == len(stages)

    def next_stage(self, stages: Sequence[Stage]) -> bool:
        """Moves on to the first stage that has steps or an evaluation left; False if there is none."""
        while self.stage_done(stages) and not self.evaluation_due:
            if self.run_done(stages):
                return False
            self.stage, self.stage_step, self.stage_over, self.since_best = self.stage + 1, 0, False, 0
        return True

    def row(self, stages: Sequence[Stage]) -> dict[str, float | int | str]:
        """The first columns of a row of metrics.csv."""
        stage = stages[self.stage]
        epoch = self.stage_step * batch_size(halved(stage, self.halvings)) / self.images
        return {"step": self.step, "epoch": round(epoch, 3), "stage": stage.name}


def batch_size(stage: Stage) -> int:
    """Images per step of a stage whose `auto` batch size has been resolved."""
    if stage.batch_size == "auto":
        raise ValueError("the batch size has not been resolved")
    return stage.batch_size


def halved(stage: Stage, times: int) -> Stage:
    """The stage with its batch size halved `times` times and its steps doubled to match."""
    steps = None if stage.steps is None else stage.steps << times
    return stage.model_copy(update={"batch_size": batch_size(stage) >> times, "steps": steps})


def steps_per_epoch(stage: Stage, images: int) -> float:
    """Batches in a pass over the training split."""
    return images / batch_size(stage)


def stage_steps(stage: Stage, images: int) -> int:
    """Length of a stage in steps."""
    if stage.steps is not None:
        return stage.steps
    return math.ceil((stage.epochs or 0) * steps_per_epoch(stage, images))


def ends_epochs(stage: Stage, step: int, images: int, epochs: int) -> bool:
    """Whether a stage's `step`-th step completes a further `epochs` passes."""
    size, per_round = batch_size(stage), images * epochs
    return step * size // per_round > (step - 1) * size // per_round
