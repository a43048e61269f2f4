"""The training loop: stages, their steps, and what happens between two steps."""

from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from ssdcore.errors import TrainingError, TrainingWarning
from ssdcore.model import SSD
from ssdcore.model.variables import named_variables, set_trainable
from ssdcore.params import ParamSet, Stage
from ssdcore.runs.checkpoint import Checkpoint
from ssdcore.runs.run_folder import RunFolder
from ssdcore.system.signals import StepSignals
from ssdcore.training.callback import TrainingCallback
from ssdcore.training.checkpointing.manager import CheckpointManager, restore_optimizer
from ssdcore.training.checkpointing.resume import load_latest
from ssdcore.training.dataset import TrainingDataset
from ssdcore.training.distributed.agreement import Agreement, Requests, require_same_step
from ssdcore.training.distributed.devices import lost_worker, worker_count
from ssdcore.training.log import MetricsLog, Profiler
from ssdcore.training.metrics import NonFiniteError, Row, StepMetrics
from ssdcore.training.optimizers import Update
from ssdcore.training.scoring import Scorer
from ssdcore.training.state import TrainingState, batch_size, ends_epochs, halved, stage_steps, steps_per_epoch
from ssdcore.training.step import make_step

RETRIES, RETRY_RATE, HEALTHY_STEPS = 3, 0.5, 1000
"""Restarts after non-finite steps, the factor of each on the learning rates, and the number of finite steps after
which restarts are counted from zero again."""

HALVINGS = 3
"""How often a batch that does not fit into memory is halved."""

MUCH_WAITING = 0.2
"""Fraction of the time spent waiting for images above which the user is warned."""


@dataclass
class Session:
    """What all stages share in one process of a run.

    Attributes:
        chief: this process is the first worker.
        scorer: in the chief only, if the run is evaluated.
        log: in the chief only, while steps are taken.
    """

    ssd: SSD
    params: ParamSet
    run: RunFolder
    dataset: TrainingDataset
    checkpoints: CheckpointManager
    chief: bool
    scorer: Scorer | None
    strategy: Any
    callback: TrainingCallback
    profiler: Profiler
    log: MetricsLog | None = None
    signals: StepSignals = field(default_factory=StepSignals)
    warned_of_waiting: bool = False

    def begin(self) -> TrainingState:
        """Starts a new run, with a first checkpoint of the untrained model."""
        state = TrainingState(self.dataset.images)
        if self.chief:
            self.checkpoints.begin(state)
        return state

    def restore(self, checkpoint: Checkpoint) -> TrainingState:
        """Restores the run from `checkpoint`; returns its state.

        Raises:
            TrainingError: the workers have read different checkpoints.
            CheckpointError: the checkpoint does not fit the run.
        """
        require_same_step(self.strategy, checkpoint.progress["step"], self.run.checkpoints)
        state = self.checkpoints.restore(checkpoint)
        self.dataset.leave_out(state)
        if self.chief:
            self.checkpoints.rewind(state.step)
        if self.log:
            self.log.rewind(state.rows, state.step)
        return state


def run_stages(session: Session, state: TrainingState, checkpoint: Checkpoint | None) -> None:
    """Runs what is left of all stages.

    Args:
        session: what they share.
        state: the position of the run.
        checkpoint: from which it was restored, None at the beginning.

    Raises:
        TrainingError: too many steps were not finite, memory does not hold the smallest batch, or too many
            images cannot be decoded.
        KeyboardInterrupt, Terminated: a signal came; raised after a checkpoint has been saved.
    """
    stages = session.params.train.stages
    if not state.next_stage(stages):
        session.callback.on_stage(stages[state.stage].name, state.stage_step, state.stage_step)
        return
    with session.signals, ExitStack() as stack:
        stack.callback(session.profiler.end)
        if session.chief:
            session.log = stack.enter_context(closing(MetricsLog(session.run, state.rows, state.step)))
        while state.next_stage(stages):
            if worker_count(session.strategy) == 1:
                session.signals.check()  # everything has been saved
            stage = halved(stages[state.stage], state.halvings)
            try:
                StageLoop(session, state, stage, checkpoint).run()
                checkpoint = None
            except (NonFiniteError, tf.errors.OpError) as error:
                checkpoint, state = _recover(session, state, stage, error)


def _recover(
    session: Session, failed: TrainingState, stage: Stage, error: NonFiniteError | tf.errors.OpError
) -> tuple[Checkpoint, TrainingState]:
    """Restores the last checkpoint with lower rates or a smaller batch; returns it and the state to continue in.

    Raises:
        TrainingError: that does not help.
        OpError: `error`, if it is another one.
    """
    if isinstance(error, NonFiniteError):
        return _lower_rates(session, failed, stage, error.steps_ago)
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return _halve_batch(session, failed, stage, error.message)
    if session.signals.received and lost_worker(error):  # the others received a signal as well
        session.signals.stop()
    raise error


def _lower_rates(
    session: Session, failed: TrainingState, stage: Stage, steps_ago: int
) -> tuple[Checkpoint, TrainingState]:
    """Restarts from the last checkpoint with lower learning rates, after a non-finite step `steps_ago` steps back.

    Raises:
        TrainingError: this has been tried `RETRIES` times.
    """
    step = failed.step - steps_ago + 1
    images = ", ".join(session.dataset.names(stage, failed.stage, failed.stage_step - steps_ago))
    problem = f"loss or gradient was not finite at step {step}, on the images {images}"
    retries, scale = failed.retries + 1, failed.rate_scale * RETRY_RATE
    if retries > RETRIES:
        raise TrainingError(
            f"{problem}; {RETRIES} restarts, the last at {failed.rate_scale:.3g} of the learning rate, did not help; "
            "check the images, lower train.stages.N.learning_rate or lengthen its warm-up; the last good weights "
            f"are in {session.run.last.absolute()}",
            "non_finite",
        )
    checkpoint, _ = load_latest(session.run)
    state = replace(session.restore(checkpoint), retries=retries, rate_scale=scale, non_finite_step=step)
    warning = (
        f"{problem}; restarted from step {state.step} with {scale:.3g} of the original learning rates "
        f"(restart {retries} of {RETRIES})"
    )
    session.callback.on_warning(TrainingWarning(warning))
    return checkpoint, state


def _halve_batch(session: Session, failed: TrainingState, stage: Stage, cause: str) -> tuple[Checkpoint, TrainingState]:
    """Continues from the last checkpoint with half the batch size and half the learning rates.

    `cause` is what TensorFlow says about the step that did not fit into memory.

    Raises:
        TrainingError: the batch cannot be halved again, the stage is past its first epoch, or workers train together.
    """
    size, parts = batch_size(stage), session.strategy.num_replicas_in_sync * stage.accumulate
    first_epoch = failed.stage_step < steps_per_epoch(stage, failed.images)
    alone = worker_count(session.strategy) == 1
    if not (alone and first_epoch and failed.halvings < HALVINGS and size % (2 * parts) == 0):
        raise TrainingError(
            f"a batch of {size} images does not fit into memory ({' '.join(cause.split())[:200]}); set a smaller "
            f"train.stages.{failed.stage}.batch_size, or split it "
            f"(train.stages.{failed.stage}.accumulate={2 * stage.accumulate})"
        )
    checkpoint, _ = load_latest(session.run)
    state = session.restore(checkpoint)
    steps = state.stage_step * (2 if state.stage == failed.stage else 1)
    warning = (
        f"a batch of {size} images does not fit into memory; continuing from step {state.step} with {size // 2} and "
        "half the learning rates"
    )
    session.callback.on_warning(TrainingWarning(warning))
    return checkpoint, replace(state, halvings=failed.halvings + 1, stage_step=steps)


class StageLoop:
    """The steps that are left of a stage."""

    def __init__(self, session: Session, state: TrainingState, stage: Stage, checkpoint: Checkpoint | None) -> None:
        """Compiles nothing yet; restores the optimizer from `checkpoint` if that was saved within this stage."""
        self._session, self._state, self._stage = session, state, stage
        self._total = stage_steps(stage, state.images)
        set_trainable(session.ssd, stage.trainable, stage.freeze_batch_norm)
        trainable = {id(variable) for variable in session.ssd.network.trainable_variables}
        variables = {name: one for name, one in named_variables(session.ssd).items() if id(one) in trainable}
        scale = state.rate_scale * 0.5**state.halvings
        with session.strategy.scope():
            self._update = Update(stage, variables, self._total, steps_per_epoch(stage, state.images), scale)
        self._metrics = StepMetrics()
        if checkpoint and state.stage_step and checkpoint.progress["stage"] == state.stage:
            self._metrics = restore_optimizer(checkpoint, self._update, state.stage_step)
        self._agreement = Agreement(session.strategy)

    def run(self) -> None:
        """Takes the steps; logs, evaluates and saves when due.

        Raises:
            NonFiniteError: loss or gradient of a step was NaN or infinite.
            KeyboardInterrupt, Terminated: a signal came; raised after a checkpoint has been saved.
        """
        session, state = self._session, self._state
        session.callback.on_stage(self._stage.name, state.stage_step, self._total)
        if state.evaluation_due:
            self._evaluate()
        if session.log and session.params.train.augmentation_images and not state.stage_step:
            session.log.show_images(state.step, session.dataset.augmented(state.stage))
        train, saved, parts = session.params.train, session.checkpoints, self._stage.accumulate
        step = make_step(session.ssd, train, self._update, saved.averages, saved.scale, parts, session.strategy)
        first = state.stage_step
        batches = iter(session.dataset.batches(self._stage, state, self._total))
        while not self._done:
            with self._metrics.timed(batch_size(self._stage)):
                with self._metrics.waiting():
                    batch = next(batches)
                metrics = step(batch, self._agreement.to_send(self._requests()))
            if state.stage_step == first:
                self._metrics.restart_timing()  # the first step was compiled
            self._metrics.add(metrics)
            state.step += 1
            state.stage_step += 1
            session.profiler.after_step()
            session.callback.on_step(state.stage_step, self._total)
            self._after_step(self._agreement.after_step(self._requests(), metrics))

    @property
    def _done(self) -> bool:
        return self._state.stage_over or self._state.stage_step >= self._total

    def _requests(self) -> Requests:
        session, patience = self._session, self._session.params.train.early_stop
        return Requests(
            stop=session.signals.received,
            save=session.chief and session.checkpoints.overdue,
            end_stage=patience is not None and self._state.since_best >= patience,
        )

    def _after_step(self, agreed: Requests) -> None:
        """Logs, saves, stops and evaluates when due."""
        state, params = self._state, self._session.params.train
        state.stage_over = agreed.end_stage
        if self._done or state.stage_step % params.log_every == 0:
            self._log()
        state.evaluation_due = bool(params.eval_every) and (
            state.stage_step == self._total
            or ends_epochs(self._stage, state.stage_step, state.images, params.eval_every)
        )
        if agreed.stop or agreed.save:
            self._save()
        if agreed.stop:
            self._session.signals.stop()
        if state.evaluation_due:
            self._evaluate()
        elif self._done:
            self._save()

    def _log(self) -> None:
        self._metrics.check_finite()
        state, session = self._state, self._session
        if state.step - state.non_finite_step >= HEALTHY_STEPS:
            state.retries = 0
        row = {**state.row(session.params.train.stages), **self._metrics.take()}
        self._write(row)
        session.callback.on_log(row)
        waited = float(row.get("data_wait", 0.0))
        if waited > MUCH_WAITING and not session.warned_of_waiting:
            session.warned_of_waiting = True
            warning = f"the network waited {waited:.0%} of the time for images"
            session.callback.on_warning(TrainingWarning(warning, "slow_data"))

    def _write(self, row: Row) -> None:
        if self._session.log:
            self._session.log.write(row)
            self._state.rows = self._session.log.rows

    def _evaluate(self) -> None:
        """Scores the weights, or their averages, and saves them if they are the best so far."""
        self._metrics.check_finite()
        state, session = self._state, self._session
        if session.scorer:
            averages = session.checkpoints.averages
            variables = averages.variables if averages else named_variables(session.ssd)
            score = session.scorer.score(variables, self._stop_if_requested)
            is_best = score.better_than(state.best)
            state.since_best = 0 if is_best else state.since_best + 1
            self._write({**state.row(session.params.train.stages), **score.row()})
            if is_best:
                state.best = score.value
                session.checkpoints.save_best(state)
            if session.log and session.params.train.histograms:
                session.log.show_histograms(state.step, variables)
            session.callback.on_evaluation(state.step, score.evaluation, is_best)
        state.evaluation_due = False
        self._save()

    def _stop_if_requested(self, done: int, total: int) -> None:
        if self._session.signals.received:
            self._save()
            self._session.signals.stop()

    def _save(self) -> None:
        self._metrics.check_finite()
        if self._session.chief:
            self._session.checkpoints.save(self._state, self._update, self._metrics)
