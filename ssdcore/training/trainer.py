"""The training loop."""

import json
import time
from dataclasses import asdict, replace
from typing import Any

import tensorflow as tf

from ssdcore.errors import TrainingError
from ssdcore.model import SSD
from ssdcore.model.variables import named_variables, set_trainable
from ssdcore.params import ParamSet, Stage
from ssdcore.runs.checkpoint import Checkpoint, assign_weights, save_checkpoint
from ssdcore.runs.run_folder import RunFolder, replace_file
from ssdcore.training.averages import WeightAverages
from ssdcore.training.callback import TrainingCallback
from ssdcore.training.checkpointing.manager import (
    average_arrays,
    forget_later,
    keep,
    restore_averages,
    restore_stage,
    training_arrays,
)
from ssdcore.training.checkpointing.resume import load_latest
from ssdcore.training.dataset import TrainingDataset
from ssdcore.training.distributed.devices import is_chief, lost_worker, numbers_of_all, worker_count
from ssdcore.training.interrupt import Interrupt
from ssdcore.training.log import MetricsLog
from ssdcore.training.loss_scale import LossScale
from ssdcore.training.profile import Profile
from ssdcore.training.progress import (
    Progress,
    batch_size,
    ends_epochs,
    halved,
    position,
    stage_steps,
    steps_per_epoch,
)
from ssdcore.training.scoring import Scorer
from ssdcore.training.step import METRICS, make_step
from ssdcore.training.update import Update
from ssdcore.training.window import Window

RETRIES, RETRY_RATE, HEALTHY_STEPS = 3, 0.5, 1000
"""How often a run goes back when its loss is no number, what that does to its rates, and how many good steps
let it begin to count anew."""

HALVINGS = 3
MUCH_WAITING = 0.2
WISHES = [METRICS.index(name) for name in ("stop", "save", "end_stage")]


class NotFiniteError(Exception):
    """The loss or gradient of the step `steps_ago`, 1 for the last, was no number."""

    def __init__(self, steps_ago: int) -> None:
        super().__init__(steps_ago)
        self.steps_ago = steps_ago


class Trainer:
    """The state of one run, in one process of it."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        ssd: SSD,
        params: ParamSet,
        feed: TrainingDataset,
        run: RunFolder,
        callback: TrainingCallback,
        strategy: Any,
        scorer: Scorer | None,
        made: dict[str, Any],
        precision: str,
    ) -> None:
        """Prepares a run; call it inside the strategy's scope, with the first weights in place."""
        self.ssd = ssd
        self.param_set, self.params = params, params.train
        self.feed = feed
        self.run = run
        self.callback = callback
        self.strategy = strategy
        self.scorer = scorer
        self.made = made
        self.chief, self.workers = is_chief(strategy), worker_count(strategy)
        self.progress = Progress(feed.images)
        self.averages = WeightAverages(ssd, self.params.ema_decay) if self.params.ema_decay else None
        self.scale = LossScale() if precision == "mixed_float16" else None
        self.update: Update | None = None
        self.window = Window()
        self.checkpoint: Checkpoint | None = None
        self.interrupt = Interrupt()
        self.saved_at = time.monotonic()
        self.wished: Any = None
        self.asked_to_save = False
        self.warned_of_waiting = False
        self.log: MetricsLog | None = None

    def begin(self) -> None:
        """Makes the run folder, with a first checkpoint of the untrained model."""
        if self.chief:
            self.run.checkpoints.mkdir(parents=True, exist_ok=True)
            replace_file(self.run.params, self.param_set.to_yaml().encode())
            replace_file(self.run.classes, (json.dumps(list(self.ssd.classes), ensure_ascii=False) + "\n").encode())
        self._save()

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Stands where a checkpoint was made.

        Raises:
            TrainingError: the workers have not read the same one, as a shared folder may show old files for a while.
        """
        steps = numbers_of_all(self.strategy, checkpoint.progress["step"])
        if len(set(steps)) > 1:
            found = ", ".join(f"{step:.0f}" for step in steps)
            raise TrainingError(
                f"the workers read checkpoints of different steps ({found}) in {self.run.checkpoints.absolute()}; give "
                "all of them the same shared --out, and start them again with --resume"
            )
        self.checkpoint = checkpoint
        self.progress = Progress(**checkpoint.progress)
        self.feed.leave_out(self.progress)
        self.made = dict(checkpoint.made)
        assign_weights(self.ssd, checkpoint, averaged=False)
        restore_averages(checkpoint, self.averages, self.scale)
        if self.chief:
            forget_later(self.run, self.progress.step)
            replace_file(self.run.params, self.param_set.to_yaml().encode())

    def run_stages(self, profile: Profile) -> None:
        """Runs what is left of all stages.

        Raises:
            TrainingError: the loss was no number once too often, memory does not hold the smallest
                batch, or too many images cannot be read.
            KeyboardInterrupt, Terminated: a signal came; raised after a checkpoint has been written.
        """
        if not self._to_next_stage():
            done = self.progress.stage_step
            self.callback.on_stage(self._stage.name, done, done)
        with self.interrupt:
            while self._to_next_stage():
                if self.workers == 1:
                    self.interrupt.check()  # all has been saved
                self._open_log()
                try:
                    self._run_stage(profile)
                except NotFiniteError as fault:
                    self._go_back(fault)
                except tf.errors.ResourceExhaustedError as error:
                    self._halve_batch(error)
                except tf.errors.OpError as error:
                    if self.interrupt.noted and lost_worker(error):  # the others were told to stop as well
                        self.interrupt.stop()
                    raise
                finally:
                    self._close_log()

    def _to_next_stage(self) -> bool:
        """Moves past what is done; whether anything is left."""
        progress, stages = self.progress, self.params.stages
        while not progress.evaluation_due:
            over = progress.stage_over or progress.stage_step >= stage_steps(self._stage, progress.images)
            if not over:
                break
            if progress.stage + 1 == len(stages):
                return False
            progress.begin_stage(progress.stage + 1)
        return True

    @property
    def _stage(self) -> Stage:
        return halved(self.params.stages[self.progress.stage], self.progress.halvings)

    def _run_stage(self, profile: Profile) -> None:
        stage, images = self._stage, self.progress.images
        total = stage_steps(stage, images)
        step = self._make_step(stage, total)
        self.callback.on_stage(stage.name, self.progress.stage_step, total)
        if self.progress.evaluation_due:
            self._evaluate()
        self._show_images()
        batches = iter(self.feed.batches(stage, self.progress, total))
        first = self.progress.stage_step
        while not self._over(total):
            with self.window.timed(batch_size(stage)):
                with self.window.waiting():
                    batch = next(batches)
                metrics = step(batch, self._wishes())
            if self.progress.stage_step == first:
                self.window.begin_timing()  # the first step was compiled
            self.window.add(metrics)
            self.progress.step += 1
            self.progress.stage_step += 1
            profile.after_step()
            self.callback.on_step(self.progress.stage_step, total)
            self._after_step(stage, total, metrics)

    def _over(self, total: int) -> bool:
        return self.progress.stage_over or self.progress.stage_step >= total

    def _make_step(self, stage: Stage, total: int) -> Any:
        """The stage's compiled step, with the optimizer in the state in which the run stands."""
        set_trainable(self.ssd, stage.trainable, stage.freeze_batch_norm)
        learning = {id(variable) for variable in self.ssd.network.trainable_variables}
        variables = {name: found for name, found in named_variables(self.ssd).items() if id(found) in learning}
        scale = self.progress.rate_scale * 0.5**self.progress.halvings
        with self.strategy.scope():
            self.update = Update(stage, variables, total, steps_per_epoch(stage, self.progress.images), scale)
        self.window, self.wished = Window(), None
        checkpoint, self.checkpoint = self.checkpoint, None
        if checkpoint and self.progress.stage_step and checkpoint.progress["stage"] == self.progress.stage:
            self.window = restore_stage(checkpoint, self.update)
            self.update.optimizer.iterations.assign(self.progress.stage_step)
        return make_step(self.ssd, self.params, self.update, self.averages, self.scale, stage.accumulate, self.strategy)

    def _wishes(self) -> Any:
        """What this worker wants: to stop, to save, to end the stage; (3,) float32."""
        stop, save, over = self._own_wishes()
        self.asked_to_save = save and not self.asked_to_save  # what the step before asked for is still to come
        return tf.constant([stop, self.asked_to_save, over], tf.float32)

    def _own_wishes(self) -> tuple[bool, bool, bool]:
        overdue = self.chief and time.monotonic() - self.saved_at > 60 * self.params.save_minutes
        patience = self.params.early_stop
        return self.interrupt.noted, overdue, patience is not None and self.progress.since_best >= patience

    def _agreed_wishes(self, metrics: Any) -> tuple[bool, bool, bool]:
        """What is to be done after this step.

        Several workers must do the same after the same step. They learn of each other's wishes
        through the step's metrics, which are read a step late so that nobody waits for them.
        """
        if self.workers == 1:
            return self._own_wishes()
        before, self.wished = self.wished, metrics
        if before is None:
            return False, False, False
        stop, save, over = (bool(before[index] > 0) for index in WISHES)
        return stop, save, over

    def _after_step(self, stage: Stage, total: int, metrics: Any) -> None:
        """Logs, saves, stops, evaluates when it is time to."""
        progress = self.progress
        at_end = progress.stage_step == total
        stop, save, progress.stage_over = self._agreed_wishes(metrics)
        if self._over(total) or progress.stage_step % self.params.log_every == 0:
            self._log()
        every = self.params.eval_every
        progress.evaluation_due = bool(every) and (
            at_end or ends_epochs(stage, progress.stage_step, progress.images, every)
        )
        if stop or save:
            self._save()
        if stop:
            self.interrupt.stop()
        if progress.evaluation_due:
            self._evaluate()
        elif self._over(total):
            self._save()

    def _log(self) -> None:
        self._refuse_faults()
        if self.progress.step - self.progress.fault_step >= HEALTHY_STEPS:
            self.progress.retries = 0
        row = {**position(self.params.stages, self.progress), **self.window.take()}
        self._write(row)
        self.callback.on_log(row)
        waited = float(row.get("data_wait", 0.0))
        if waited > MUCH_WAITING and not self.warned_of_waiting:
            self.warned_of_waiting = True
            self.callback.on_warning(
                f"the network waited {waited:.0%} of the time for images; convert them smaller (ssd data convert), "
                "leave augmentation out, or use more cores"
            )

    def _write(self, row: dict[str, float | int | str]) -> None:
        if self.log:
            self.log.write(row)
            self.progress.rows = self.log.rows

    def _refuse_faults(self) -> None:
        """Raises NotFiniteError if a step since the last row was faulty."""
        steps_ago = self.window.first_fault()
        if steps_ago is not None:
            raise NotFiniteError(steps_ago)

    def _evaluate(self) -> None:
        """Scores the weights, or their averages, and keeps them if they are the best so far."""
        self._refuse_faults()
        if self.scorer:
            variables = self.averages.variables if self.averages else named_variables(self.ssd)
            score = self.scorer.score(variables, self._stop_if_told)
            is_best = score.better_than(self.progress.best)
            self.progress.since_best = 0 if is_best else self.progress.since_best + 1
            self._write({**position(self.params.stages, self.progress), **score.row()})
            if is_best:
                self.progress.best = score.value
                self._keep_best()
            if self.log and self.params.histograms:
                self.log.show_histograms(self.progress.step, variables)
            self.callback.on_evaluation(self.progress.step, score.evaluation, is_best)
        self.progress.evaluation_due = False
        self._save()

    def _stop_if_told(self, done: int, total: int) -> None:
        if self.interrupt.noted:
            self._save()
            self.interrupt.stop()

    def _keep_best(self) -> None:
        more = average_arrays(self.averages)
        save_checkpoint(self.run.best, self.ssd, self.param_set, asdict(self.progress), more, self.made)

    def _save(self) -> None:
        self._refuse_faults()
        if self.chief:
            more = training_arrays(self.update, self.averages, self.scale, self.window)
            keep(self.run, self.ssd, self.param_set, self.progress, more, self.made)
        self.saved_at = time.monotonic()

    def _go_back(self, fault: NotFiniteError) -> None:
        """Returns to the last good checkpoint, with lower rates."""
        at = self.progress.stage_step - fault.steps_ago
        names = self.feed.names(self._stage, self.progress.stage, at)
        step = self.progress.step - fault.steps_ago + 1
        story = f"the loss or its gradient was not finite at step {step}, on the images {', '.join(names)}"
        retries, scale = self.progress.retries + 1, self.progress.rate_scale * RETRY_RATE
        if retries > RETRIES:
            raise TrainingError(
                f"{story}; going back {RETRIES} times, to {self.progress.rate_scale:.3g} of the rate at last, did not "
                "help; look at these images ('ssd data show'), lower train.stages.N.learning_rate or lengthen its "
                f"warm-up; the last good weights are in {self.run.last.absolute()}"
            )
        self.go_on(load_latest(self.run)[0])
        self.progress = replace(self.progress, retries=retries, rate_scale=scale, fault_step=step)
        self.callback.on_warning(
            f"{story}; went back to step {self.progress.step}, rates are {scale:.3g} of what they were at first "
            f"({retries} of {RETRIES} times)"
        )

    def _halve_batch(self, error: tf.errors.ResourceExhaustedError) -> None:
        """Returns to the last checkpoint, with smaller batches and rates."""
        stage, progress = self._stage, self.progress
        size = batch_size(stage)
        first_epoch = progress.stage_step < steps_per_epoch(stage, progress.images)
        parts = self.strategy.num_replicas_in_sync * stage.accumulate
        halvable = self.workers == 1 and first_epoch and progress.halvings < HALVINGS and size % (2 * parts) == 0
        if not halvable:
            raise TrainingError(
                f"memory does not hold a batch of {size} images ({' '.join(error.message.split())[:200]}); set a "
                f"smaller train.stages.{progress.stage}.batch_size, or go through it in parts "
                f"(train.stages.{progress.stage}.accumulate={2 * stage.accumulate})"
            ) from None
        self.go_on(load_latest(self.run)[0])
        same_stage = self.progress.stage == progress.stage
        self.progress = replace(
            self.progress,
            halvings=progress.halvings + 1,
            stage_step=self.progress.stage_step * (2 if same_stage else 1),
        )
        self.callback.on_warning(
            f"memory does not hold a batch of {size} images; going on from step {self.progress.step} with "
            f"{size // 2} and half the rate"
        )

    def _show_images(self) -> None:
        if self.log and self.params.augmentation_images and not self.progress.stage_step:
            self.log.show_images(self.progress.step, self.feed.augmented(self.progress.stage))

    def _open_log(self) -> None:
        if self.chief:
            self.log = MetricsLog(self.run, self.progress.rows, self.progress.step)

    def _close_log(self) -> None:
        if self.log:
            self.log.close()
            self.log = None
