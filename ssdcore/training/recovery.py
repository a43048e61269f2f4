"""What a run does about non-finite steps and exhausted memory: it continues from its last checkpoint.

Each function restores the last checkpoint by calling `restore` and returns the state to continue in, and a warning.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ssdcore.errors import TrainingError
from ssdcore.params import Stage
from ssdcore.training.state import TrainingState, batch_size, steps_per_epoch

RETRIES, RETRY_RATE, HEALTHY_STEPS = 3, 0.5, 1000
"""Restarts after non-finite steps, the factor of each on the learning rates, and the number of finite steps after
which restarts are counted from zero again."""

HALVINGS = 3

Restore = Callable[[], TrainingState]


def lower_rates(
    failed: TrainingState, step: int, images: Sequence[str], last: Path, restore: Restore
) -> tuple[TrainingState, str]:
    """Continues with lower learning rates after a non-finite step.

    Args:
        failed: the state in which the step was found.
        step: the first non-finite step of the run.
        images: names of the images of its batch.
        last: path of the last checkpoint.
        restore: see above.

    Raises:
        TrainingError: this has been tried `RETRIES` times.
    """
    problem = f"loss or gradient was not finite at step {step}, on the images {', '.join(images)}"
    retries, scale = failed.retries + 1, failed.rate_scale * RETRY_RATE
    if retries > RETRIES:
        raise TrainingError(
            f"{problem}; {RETRIES} restarts, the last at {failed.rate_scale:.3g} of the learning rate, did not help; "
            "check the images, lower train.stages.N.learning_rate or lengthen its warm-up; the last good weights "
            f"are in {last.absolute()}",
            "non_finite",
        )
    state = replace(restore(), retries=retries, rate_scale=scale, non_finite_step=step)
    return state, (
        f"{problem}; restarted from step {state.step} with {scale:.3g} of the original learning rates "
        f"(restart {retries} of {RETRIES})"
    )


def halve_batch(
    failed: TrainingState, stage: Stage, parts: int, workers: int, cause: str, restore: Restore
) -> tuple[TrainingState, str]:
    """Continues with half the batch size and half the learning rates when a step does not fit into memory.

    Args:
        failed: the state in which memory was exhausted.
        stage: with its current batch size.
        parts: in how many parts a batch is processed, on all devices.
        workers: processes that train together.
        cause: what TensorFlow says.
        restore: see above.

    Raises:
        TrainingError: the batch cannot be halved again, or the stage is past its first epoch.
    """
    size = batch_size(stage)
    first_epoch = failed.stage_step < steps_per_epoch(stage, failed.images)
    if not (workers == 1 and first_epoch and failed.halvings < HALVINGS and size % (2 * parts) == 0):
        raise TrainingError(
            f"a batch of {size} images does not fit into memory ({' '.join(cause.split())[:200]}); set a smaller "
            f"train.stages.{failed.stage}.batch_size, or split it "
            f"(train.stages.{failed.stage}.accumulate={2 * stage.accumulate})"
        )
    state = restore()
    steps = state.stage_step * (2 if state.stage == failed.stage else 1)
    state = replace(state, halvings=failed.halvings + 1, stage_step=steps)
    return state, (
        f"a batch of {size} images does not fit into memory; continuing from step {state.step} with {size // 2} and "
        "half the learning rates"
    )
