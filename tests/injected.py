"""Faults that tests plant in a run, here or in a subprocess. What they replace inside the package is named only here.

Those that a subprocess is to have are written as a line of code, see `planted` and `killing`, which it runs first.
"""

import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

POINTS = {
    "sync": "os.fsync",
    "second name": "os.link",
    "rename": "pathlib.Path.replace",
    "row": "ssdcore.training.log.MetricsLog.write",
    "rows dropped": "ssdcore.training.log.MetricsLog.rewind",
    "evaluation": "ssdcore.training.scoring.Scorer.score",
    "warm-up": "ssdcore.evaluation.evaluate.Evaluator._warm_up",
    "best checkpoint": "ssdcore.training.checkpointing.manager.CheckpointManager.save_best",
    "later checkpoints": "ssdcore.training.checkpointing.manager.CheckpointManager.rewind",
    "stage shown": "ssdcli.training_progress.TrainingProgress.on_stage",
    "step shown": "ssdcli.training_progress.TrainingProgress.on_step",
}
"""Functions at which a process can be killed."""

Patch = Callable[[Any, str, Any], None]
Step = Callable[..., Any]


def planted(name: str, **options: Any) -> str:
    """Code that plants a fault of this module in the process that runs it."""
    return f"import injected; injected.{name}(**{options!r})\n"


def killing(point: str, number: int, when: str = "before", by: int = signal.SIGKILL) -> str:
    """Code that lets the `number`-th call of a function (one of `POINTS`, or a dotted name) send a signal."""
    return planted("kill", point=point, number=number, when=when, by=int(by))


def kill(point: str, number: int, when: str, by: int) -> None:
    """Sends this process a signal before or after the `number`-th call of a function."""
    owner_name, _, name = POINTS.get(point, point).rpartition(".")
    owner, calls = pkgutil.resolve_name(owner_name), [0]
    real = getattr(owner, name)

    def deadly(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if (calls[0], when) == (number, "before"):
            os.kill(os.getpid(), by)
        result = real(*arguments, **options)
        if (calls[0], when) == (number, "after"):
            os.kill(os.getpid(), by)
        return result

    setattr(owner, name, deadly)


def poison(step: int, times: int = 1, factor: str = "nan", where: str = "everywhere", patch: Patch = setattr) -> None:
    """Multiplies the images of a step of the whole run, counted from 1, so many times (-1: each time).

    Args:
        step: which step.
        times: the step is poisoned when it comes for the first `times` times.
        factor: `nan`, `inf` or a number.
        where: `everywhere`, or of `second device` and `second worker` only that part of the batch.
        patch: what replaces the function.
    """
    from ssdcore.training.dataset import TrainingDataset

    real, left = TrainingDataset.batches, [times]

    def batches(self: Any, stage: Any, state: Any, total: int) -> Iterator[Any]:
        for number, batch in enumerate(real(self, stage, state, total), start=state.step + 1):
            poisoned = number == step and left[0] != 0
            left[0] -= poisoned
            yield (POISONS[where](self._strategy, batch[0], float(factor)), *batch[1:]) if poisoned else batch

    patch(TrainingDataset, "batches", batches)


def _on_second_device(strategy: Any, images: Any, factor: float) -> Any:
    first, second = images.values
    return strategy.experimental_distribute_values_from_function(
        lambda context: second * factor if context.replica_id_in_sync_group else first
    )


def _on_second_worker(strategy: Any, images: Any, factor: float) -> Any:
    from ssdcore.training.distributed.devices import worker_index

    return strategy.run(lambda part: part * factor, args=(images,)) if worker_index(strategy) == 1 else images


POISONS: dict[str, Callable[[Any, Any, float], Any]] = {
    "everywhere": lambda _, images, factor: images * factor,
    "second device": _on_second_device,
    "second worker": _on_second_worker,
}


def burst_gradients(patch: Patch = setattr) -> None:
    """Makes gradients infinite where the first image begins with a negative number; the loss is as before."""
    import tensorflow as tf

    from ssdcore.training import step

    real = step._losses

    def bursting(ssd: Any, params: Any, batch: Any, *more: Any) -> Any:
        marked = batch[0][0, 0, 0, 0] < 0

        @tf.custom_gradient
        def burst(losses: Any) -> Any:
            return tf.identity(losses), lambda upstream: upstream * tf.where(marked, float("inf"), 1.0)

        return burst(real(ssd, params, batch, *more))

    patch(step, "_losses", bursting)


def retry(times: int, healthy_steps: int = 1000, patch: Patch = setattr) -> None:
    """Lets a run go back `times` times from steps that are not finite, and again behind so many good steps."""
    from ssdcore.training import loop

    patch(loop, "RETRIES", times)
    patch(loop, "HEALTHY_STEPS", healthy_steps)


def wrap_steps(wrap: Callable[..., Step], patch: Patch = setattr) -> None:
    """Replaces each compiled step by what `wrap` makes of it, of the detector, and of its update."""
    from ssdcore.training import loop

    real = loop.make_step
    patch(loop, "make_step", lambda ssd, params, update, *more: wrap(real(ssd, params, update, *more), ssd, update))


def slow_steps(patience: float, deaf: bool) -> None:
    """Lets each step take 30 s, during which Ctrl-C may not be heard, and the program wait `patience` s for it."""
    from ssdcore.system import signals

    signals.STEP_TIMEOUT = patience

    def slow(step: Step, *_: Any) -> Step:
        def wait(*arguments: Any) -> Any:
            found = step(*arguments)
            print("slow", file=sys.stderr, flush=True)
            for _ in range(300):
                try:
                    time.sleep(0.1)
                except KeyboardInterrupt:
                    if not deaf:
                        raise
            return found

        return wait

    wrap_steps(slow)
