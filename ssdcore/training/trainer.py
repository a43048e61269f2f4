"""The training loop."""

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ssdcore.checkpoint import OPTIMIZER_PREFIX, Checkpoint, assign_weights, load_checkpoint, save_checkpoint
from ssdcore.data.manifest import Manifest
from ssdcore.data.pipeline import Labelled, learnt_objects, read_records, training_stream
from ssdcore.errors import CheckpointError, TrainingError
from ssdcore.evaluation import Evaluator
from ssdcore.evaluation.evaluate import check_classes
from ssdcore.geometry.recall import sampled_recall
from ssdcore.model import SSD, build_ssd
from ssdcore.model.targets import encode_targets
from ssdcore.model.variables import backbone_variables, set_trainable
from ssdcore.params import ParamSet, Stage, difference
from ssdcore.plugins import Plugins
from ssdcore.run_folder import RunFolder
from ssdcore.training.interrupt import Interrupt
from ssdcore.training.listener import TrainingListener
from ssdcore.training.log import MetricsLog, Window
from ssdcore.training.optimizers import make_optimizer
from ssdcore.training.step import make_step
from ssdcore.weights import load_weights

ENOUGH_RECALL = 0.95
"""Share of the objects that default boxes should overlap by the matching threshold."""

RECALL_PICTURES = 1000
"""Pictures whose objects are looked at for that."""


@dataclass
class Progress:
    """Where a run stands: `stage` is the index of the stage, `stage_step` its steps taken.

    `images` is the size of the training split, on which the length of stages depends.
    """

    images: int
    stage: int = 0
    stage_step: int = 0
    step: int = 0
    best: float | None = None


def train(
    params: ParamSet,
    data: Path,
    out: Path,
    plugins: Plugins,
    *,
    resume: bool = False,
    listener: TrainingListener | None = None,
    strategy: Any = None,
) -> SSD:
    """Trains a detector and keeps everything in a run folder.

    Args:
        params: what to train, and how.
        data: folder of records.
        out: run folder; must not exist, or be empty, unless `resume` is set.
        plugins: where the backbone comes from.
        resume: go on with the run in `out`.
        listener: is told of progress.
        strategy: a `tf.distribute.Strategy`; None trains on one device.

    Returns:
        The trained detector.

    Raises:
        SsdError: parameters, data, weights or run folder are unusable; says which and why.
        KeyboardInterrupt: passed on after a checkpoint has been written.
    """
    listener = listener or TrainingListener()
    manifest = Manifest.load(data)
    params = _with_splits(params, manifest)
    run = RunFolder(out)
    checkpoint = _open_run(run, params, manifest, data, resume)
    strategy = strategy or tf.distribute.get_strategy()
    # Not seed 0: under that global seed tf.data cannot shuffle by a seed that is a tensor.
    keras.utils.set_random_seed(params.train.seed + 1)
    with strategy.scope():
        ssd = build_ssd(params, manifest.classes, plugins)
        if checkpoint:
            assign_weights(ssd, checkpoint)
        elif params.train.weights.file is not None:
            report = load_weights(ssd, plugins, params.train.weights)
            _refuse_frozen_noise(
                params, set(report.matched) >= {f"{ssd.backbone.name}/{v}" for v in backbone_variables(ssd)}
            )
            listener.on_weights(report)
        for stage in params.train.stages:
            set_trainable(ssd, stage.trainable)
        read_records(data, manifest.train_split(params.data.train_split))
        trainer = _Trainer(ssd, data, manifest, run, listener, strategy, checkpoint)
        if checkpoint is None:
            trainer.begin()
        trainer.run_stages()
    return ssd


def _with_splits(params: ParamSet, manifest: Manifest) -> ParamSet:
    """The same parameters with the names of the splits that the data has."""
    train = manifest.train_split(params.data.train_split)
    evaluated = params.data.eval_split
    if params.train.eval_every:
        evaluated = manifest.eval_split(evaluated, train)
    data = params.data.model_copy(update={"train_split": train, "eval_split": evaluated})
    return params.model_copy(update={"data": data})


def _open_run(run: RunFolder, params: ParamSet, manifest: Manifest, data: Path, resume: bool) -> Checkpoint | None:
    """Makes sure that a new run's folder is unused, or reads the checkpoint of the run to go on with."""
    if resume:
        checkpoint = load_checkpoint(run.last)
        check_classes(checkpoint.classes, manifest.classes, data)
        _refuse_changes(checkpoint, params)
        split = manifest.train_split(params.data.train_split)
        before, now = checkpoint.progress["images"], manifest.split(split).images
        if before != now:
            raise TrainingError(
                f"the run was started on {before} pictures, {data.absolute()} has {now} in "
                f"{split!r}; resume on the same data, or start a new run"
            )
        return checkpoint
    _refuse_frozen_noise(params, params.train.weights.file is not None)
    if run.root.exists() and (not run.root.is_dir() or any(run.root.iterdir())):
        raise TrainingError(f"{run.root.absolute()} is in use; give --resume to go on with that run, or another --out")
    return None


def _refuse_frozen_noise(params: ParamSet, filled: bool) -> None:
    """A backbone that was not wholly filled from a file must learn: noise is nothing to learn on."""
    first = params.train.stages[0]
    if not filled and first.trainable == "ssd":
        raise TrainingError(
            f"the first stage, {first.name!r}, trains the SSD layers on a fixed backbone, which would keep its random "
            "weights; give a file to start from (train.weights=FILE), or let it learn (train.stages.0.trainable=all)"
        )


def _refuse_changes(checkpoint: Checkpoint, params: ParamSet) -> None:
    """A run goes on only with the parameters it began with."""
    changes = difference(checkpoint.params, params)
    if changes:
        listed = "; ".join(f"{key} was {old!r}, now {new!r}" for key, old, new in changes[:5])
        raise TrainingError(
            f"the run in {checkpoint.path.parent.parent.absolute()} was started with other parameters: {listed}; "
            "resume with its own params.yaml, or start a new run"
        )


class _Trainer:
    """The state of one run."""

    def __init__(
        self,
        ssd: SSD,
        data: Path,
        manifest: Manifest,
        run: RunFolder,
        listener: TrainingListener,
        strategy: Any,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.ssd = ssd
        self.params = ssd.params.train
        self.data = data
        self.manifest = manifest
        self.split = manifest.train_split(ssd.params.data.train_split)
        self.images = manifest.split(self.split).images
        self.run = run
        self.listener = listener
        self.strategy = strategy
        self.checkpoint = checkpoint
        self.progress = Progress(**checkpoint.progress) if checkpoint else Progress(self.images)
        self.optimizer: Any = None
        self.evaluator = self._make_evaluator()
        self.interrupt = Interrupt()
        self.saved_at = time.monotonic()

    def _make_evaluator(self) -> Evaluator | None:
        if not self.params.eval_every:
            return None
        split = self.manifest.eval_split(self.ssd.params.data.eval_split, self.split)
        return Evaluator(self.ssd, self.data, split, self.ssd.params.eval)

    def begin(self) -> None:
        """Makes the run folder, with a first checkpoint of the untrained model."""
        self.run.checkpoints.mkdir(parents=True)
        self.run.params.write_text(self.ssd.params.to_yaml(), "utf-8")
        self.run.classes.write_text(json.dumps(list(self.ssd.classes), ensure_ascii=False) + "\n", "utf-8")
        self._save()

    def run_stages(self) -> None:
        """Runs what is left of all stages."""
        self.listener.on_start(self._summary())
        self._warn_of_recall()
        self.log = MetricsLog(self.run, self.progress.step)
        try:
            with self.interrupt:
                for index in range(self.progress.stage, len(self.params.stages)):
                    if index != self.progress.stage:
                        self.progress.stage, self.progress.stage_step = index, 0
                    self._run_stage(self.params.stages[index])
        except KeyboardInterrupt:
            if self.optimizer is not None:  # else nothing has changed since the last checkpoint
                self._save()
            raise
        finally:
            self.log.close()

    def _run_stage(self, stage: Stage) -> None:
        total = stage_steps(stage, self.images)
        set_trainable(self.ssd, stage.trainable)
        optimizer = make_optimizer(stage, total)
        step = make_step(self.ssd, optimizer, self.strategy)
        self._restore(optimizer)
        self.optimizer = optimizer
        self.listener.on_stage(stage.name, self.progress.stage_step, total)
        window = Window()
        for batch in self._batches(stage, total - self.progress.stage_step):
            window.add(step(tuple(batch)))
            self.progress.step += 1
            self.progress.stage_step += 1
            self.listener.on_step(self.progress.stage_step, total)
            self._after_step(stage, total, window)
            self.interrupt.check()

    def _after_step(self, stage: Stage, total: int, window: Window) -> None:
        """Logs, evaluates and saves when it is time to."""
        at_end = self.progress.stage_step == total
        logged = at_end or self.progress.stage_step % self.params.log_every == 0
        if logged:
            self._log(stage, window)
        every = self.params.eval_every * steps_per_epoch(stage, self.images)
        due = self.evaluator is not None and (at_end or self.progress.stage_step % every == 0)
        overdue = time.monotonic() - self.saved_at > 60 * self.params.save_minutes
        if due or at_end or (logged and overdue):  # a logged loss has been seen to be finite
            self._save()
        if self.evaluator and due:
            self._evaluate(stage, self.evaluator)

    def _batches(self, stage: Stage, count: int) -> Any:
        """The stage's next `count` batches of (images, labels, offsets), from where the run stands."""
        params = self.ssd.params
        default_boxes = tf.constant(self.ssd.default_boxes)

        def with_targets(picture: Labelled) -> tuple[Any, Any, Any]:
            labels, offsets = encode_targets(
                picture.boxes, picture.labels, default_boxes, self.params.loss.match_iou, params.model.variances
            )
            return picture.image, labels, offsets

        stream = training_stream(
            read_records(self.data, self.split),
            self.images,
            (self.params.seed, self.progress.stage),
            self.progress.stage_step * stage.batch_size,
            params.model.image_size,
            params.data,
            params.augment,
        )
        calls = params.data.parallel_calls or tf.data.AUTOTUNE
        batches = stream.map(with_targets, num_parallel_calls=calls).batch(stage.batch_size, drop_remainder=True)
        return self.strategy.experimental_distribute_dataset(batches.take(count).prefetch(2))

    def _log(self, stage: Stage, window: Window) -> None:
        rate = float(self.optimizer.learning_rate)
        row = {**self._position(stage), "learning_rate": rate, **window.take(stage.batch_size)}
        if not np.isfinite([row["loss"], row["gradient_norm"]]).all():
            raise TrainingError(
                f"the loss became {row['loss']}, its gradient {row['gradient_norm']}, by step {self.progress.step} "
                f"(rate {rate:.2g}); lower the learning rate or lengthen its warm-up; the last good weights are in "
                f"{self.run.last.absolute()}"
            )
        self.log.write(row)
        self.listener.on_log(row)

    def _position(self, stage: Stage) -> dict[str, float | int | str]:
        epoch = self.progress.stage_step * stage.batch_size / self.images
        return {"step": self.progress.step, "epoch": round(epoch, 3), "stage": stage.name}

    def _evaluate(self, stage: Stage, evaluator: Evaluator) -> None:
        evaluation = evaluator.run(lambda done, total: self.interrupt.check())
        score = evaluation.mean_average_precision
        is_best = score is not None and (self.progress.best is None or score > self.progress.best)
        if score is not None:
            self.log.write({**self._position(stage), "map": score})
        if is_best:
            self.progress.best = score
            save_checkpoint(self.run.best, self.ssd, asdict(self.progress), {})
            self._save()
        self.listener.on_evaluation(self.progress.step, evaluation, is_best)

    def _save(self) -> None:
        variables = self.optimizer.variables if self.optimizer else ()
        slots = {f"{number:04d}": variable for number, variable in enumerate(variables)}
        save_checkpoint(self.run.last, self.ssd, asdict(self.progress), slots)
        self.saved_at = time.monotonic()

    def _restore(self, optimizer: Any) -> None:
        """Gives a resumed stage's optimizer its slots; the next stage starts with fresh ones."""
        checkpoint, self.checkpoint = self.checkpoint, None
        if checkpoint is None or self.progress.stage_step == 0:
            return
        for number, variable in enumerate(optimizer.variables):
            value = checkpoint.arrays.get(f"{OPTIMIZER_PREFIX}{number:04d}")
            if value is None or value.shape != tuple(variable.shape):
                raise CheckpointError(
                    f"{checkpoint.path.absolute()} holds no state of this optimizer; start a new run from its weights"
                )
            variable.assign(value)

    def _warn_of_recall(self) -> None:
        """Tells if default boxes miss many of the first objects."""
        params = self.ssd.params
        objects = learnt_objects(read_records(self.data, self.split), params.model.image_size, params.data)
        boxes = [found.numpy() for found, _ in objects.take(RECALL_PICTURES)]
        if not sum(map(len, boxes)):
            return
        found = sampled_recall(np.concatenate(boxes), self.ssd.default_boxes, self.params.loss.match_iou)
        if found.recall < ENOUGH_RECALL:
            self.listener.on_warning(
                f"the default boxes overlap only {found.recall:.1%} of the objects by {self.params.loss.match_iou:g} "
                f"or more; 'ssd anchors {self.data} --params {self.run.params}' proposes better ones"
            )

    def _summary(self) -> str:
        params = self.ssd.params
        parts = f"{params.backbone} + {params.model.name}, {len(self.ssd.default_boxes)} default boxes"
        return f"{parts}, {len(self.ssd.classes)} classes, {self.images} pictures in {self.split!r}"


def steps_per_epoch(stage: Stage, images: int) -> int:
    """Batches in a pass over the training split, at least one."""
    return max(1, images // stage.batch_size)


def stage_steps(stage: Stage, images: int) -> int:
    """Length of a stage in steps."""
    if stage.steps is not None:
        return stage.steps
    return math.ceil((stage.epochs or 0) * images / stage.batch_size)
