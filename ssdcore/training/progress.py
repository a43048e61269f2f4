"""Where a run stands, and how long its stages are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ssdcore.params import Stage

Length = tuple[int, int]


@dataclass
class Progress:
    """Where a run stands; every checkpoint carries it.

    Attributes:
        images: size of the training split, on which the length of stages depends.
        stage: index of the stage.
        stage_step: its steps taken.
        stage_over: it ended before its last step.
        step: steps taken in all stages.
        rows: rows of metrics.csv that belong to these steps.
        best: the best value of what is monitored.
        since_best: evaluations of this stage since then.
        evaluation_due: the evaluation that belongs behind the last step has not been done.
        retries: how often the run went back because its loss was no number, without many good steps between.
        fault_step: step of the latest such loss.
        rate_scale: factor on all learning rates since then.
        halvings: how often the batch was halved because memory did not hold it.
        undecodable: number of images left out because they could not be read.
        left_out: these images, by number in the training split.
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
    fault_step: int = 0
    rate_scale: float = 1.0
    halvings: int = 0
    undecodable: int = 0
    left_out: list[int] = field(default_factory=list)

    def begin_stage(self, index: int) -> None:
        """Stands before the first step of a stage."""
        self.stage, self.stage_step, self.stage_over, self.since_best = index, 0, False, 0


def batch_size(stage: Stage) -> int:
    """Images per step of a stage whose size is settled."""
    if stage.batch_size == "auto":
        raise ValueError("the batch size is not settled yet")
    return stage.batch_size


def halved(stage: Stage, times: int) -> Stage:
    """The stage with smaller batches, and so many more of them that it sees the same images."""
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
    """Whether a stage's `step`-th step is the one that completes a further `epochs` passes."""
    size, per_round = batch_size(stage), images * epochs
    return step * size // per_round > (step - 1) * size // per_round


def position(stages: Sequence[Stage], progress: Progress) -> dict[str, float | int | str]:
    """The first columns of a row of metrics.csv."""
    stage = stages[progress.stage]
    epoch = progress.stage_step * batch_size(halved(stage, progress.halvings)) / progress.images
    return {"step": progress.step, "epoch": round(epoch, 3), "stage": stage.name}


def is_over(stages: Sequence[Stage], progress: Progress) -> bool:
    """Whether all stages are done, and evaluated."""
    stage = halved(stages[progress.stage], progress.halvings)
    done = progress.stage_over or progress.stage_step >= stage_steps(stage, progress.images)
    return done and not progress.evaluation_due and progress.stage + 1 == len(stages)
