"""`train`: from parameters and data to a run folder."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.data.pipeline import iterate, read_records, training_boxes
from ssdcore.data.records.manifest import Manifest
from ssdcore.errors import TrainingError, TrainingWarning
from ssdcore.files import exclusive, explain_writing
from ssdcore.geometry.recall import sampled_recall
from ssdcore.model import SSD, build_ssd
from ssdcore.model.variables import (
    backbone_variables,
    check_scopes,
    named_weights,
    set_trainable,
    synchronize_batch_norm,
)
from ssdcore.params import ParamSet
from ssdcore.runs.provenance import provenance
from ssdcore.runs.run_folder import RunFolder
from ssdcore.training.auto_batch import resolve_auto_batch
from ssdcore.training.averages import WeightAverages
from ssdcore.training.callback import TrainingCallback
from ssdcore.training.checkpointing.manager import CheckpointManager
from ssdcore.training.checkpointing.resume import open_run, require_trained_backbone
from ssdcore.training.dataset import TrainingDataset
from ssdcore.training.distributed.devices import check_batch, describe, explain_lost_worker, is_chief, numbers_of_all
from ssdcore.training.log import Profiler
from ssdcore.training.loop import Session, run_stages
from ssdcore.training.precision import LossScale, choose_precision
from ssdcore.training.scoring import Scorer
from ssdcore.training.state import batch_size
from ssdcore.weights import load_weights

ENOUGH_RECALL = 0.95
"""Fraction of the ground-truth boxes that default boxes should overlap by the matching threshold."""

RECALL_IMAGES = 1000
"""Images from which that fraction is computed."""

OBJECT_PRIOR = 0.01
"""Probability of an object that the focal loss starts from, for each default box."""


def train(
    params: ParamSet,
    data: Path | str,
    out: Path | str,
    plugins: Plugins | None = None,
    *,
    resume: bool = False,
    callback: TrainingCallback | None = None,
    strategy: Any = None,
    profile: bool = False,
) -> SSD:
    """Trains a detector and writes a run folder.

    With a strategy of several workers every one of them calls this; `data` and `out` must be the
    same folders for all, and the first worker alone writes.

    Args:
        params: what to train, and how.
        data: folder of records.
        out: run folder; must not exist, or be empty, unless `resume` is set.
        plugins: where the backbone comes from; None: the installed ones.
        resume: continue the run in `out`.
        callback: for progress and warnings.
        strategy: a `tf.distribute.Strategy` (`ssdcore.training.distributed.devices.make_strategy`); None: one device.
        profile: trace steps 11 to 20 for TensorBoard's profiler.

    Returns:
        The trained detector, with its last weights, not their averages.

    Raises:
        SsdError: parameters, data, weights or run folder are unusable; says which and why.
        KeyboardInterrupt, Terminated: SIGINT or SIGTERM came; raised after a checkpoint has been saved.
    """
    callback = callback or TrainingCallback()
    strategy = strategy or tf.distribute.get_strategy()
    run = RunFolder(Path(out))
    with _locked(run) if is_chief(strategy) else nullcontext():
        return _train(params, Path(data), run, plugins or load_plugins(), resume, callback, strategy, profile)


def _train(
    params: ParamSet,
    data: Path,
    run: RunFolder,
    plugins: Plugins,
    resume: bool,
    callback: TrainingCallback,
    strategy: Any,
    profile: bool,
) -> SSD:
    """See `train`; no other process trains in the folder."""
    manifest, chief = Manifest.load(data), is_chief(strategy)
    params, checkpoint, damage = open_run(run, params, manifest, data, resume=resume, chief=chief)
    if damage:
        callback.on_warning(TrainingWarning(damage))
    if params.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    # A plain copy, for evaluations, and to choose the precision of the other before that is built.
    copy = build_ssd(params, manifest.classes, plugins)
    precision = choose_precision(params.train.precision, copy.network)
    if precision == "mixed_float16" and not tf.config.get_visible_devices("GPU"):
        warning = "mixed_float16 is many times slower than float32 on a CPU (train.precision=auto)"
        callback.on_warning(TrainingWarning(warning))
    keras.utils.set_random_seed(params.train.seed)
    with strategy.scope(), explain_lost_worker(strategy):
        ssd, params = _build(params, not checkpoint, manifest, plugins, precision, strategy, callback)
        averages = WeightAverages(ssd, params.train.ema_decay) if params.train.ema_decay else None
        scale = LossScale() if precision == "mixed_float16" else None
        made = provenance(data, manifest.source, [plugins.providers[params.backbone].distribution])
        split = params.data.eval_split if params.train.eval_every and chief else None
        session = Session(
            ssd=ssd,
            params=params,
            run=run,
            dataset=TrainingDataset(ssd, params, data, strategy, callback),
            checkpoints=CheckpointManager(run, ssd, params, made, averages, scale),
            scorer=Scorer(copy, params, data, split) if split is not None else None,
            chief=chief,
            strategy=strategy,
            callback=callback,
            profiler=Profiler(run.events if profile and chief else None),
        )
        callback.on_start(
            f"{params.backbone} + {params.model.name}, {len(ssd.default_boxes)} default boxes, {len(ssd.classes)} "
            f"classes, {session.dataset.images} images in {params.data.train_split!r}; "
            f"{describe(strategy, batch_size(params.train.stages[0]))}, {precision}"
        )
        _warn_of_recall(ssd, params, data, manifest, callback)
        state = session.restore(checkpoint) if checkpoint else session.begin()
        run_stages(session, state, checkpoint)
    return ssd


@contextmanager
def _locked(run: RunFolder) -> Iterator[None]:
    """Keeps other processes from training in a run folder; creates it, and removes it if nothing was written.

    Raises:
        TrainingError: another process trains there, or the folder cannot be written.
    """
    if run.root.exists() and not run.root.is_dir():
        raise TrainingError(f"{run.root.absolute()} is a file", "run_is_file")
    is_new = not run.root.exists()
    with explain_writing(run.root, TrainingError):
        run.root.mkdir(parents=True, exist_ok=True)
    busy = TrainingError(f"another process trains in {run.root.absolute()}", "run_busy")
    try:
        with exclusive(run.lock, busy):
            try:
                yield
            finally:
                if not run.params.exists():  # nothing was written
                    run.lock.unlink(missing_ok=True)
    finally:
        if is_new:
            with suppress(OSError):  # not empty
                run.root.rmdir()


def _build(
    params: ParamSet,
    is_new: bool,
    manifest: Manifest,
    plugins: Plugins,
    precision: str,
    strategy: Any,
    callback: TrainingCallback,
) -> tuple[SSD, ParamSet]:
    """The detector, for a new run with its initial weights; and the parameters with resolved batch sizes."""
    ssd = build_ssd(params, manifest.classes, plugins, precision)
    if is_new:
        _expect_background(ssd, params)
        if params.train.weights.file is not None:
            report = load_weights(ssd, plugins, params.train.weights)
            if not set(report.matched) >= {f"{ssd.backbone.name}/{name}" for name in backbone_variables(ssd)}:
                require_trained_backbone(params)
            callback.on_weights(report)
        replicas = strategy.num_replicas_in_sync
        params = resolve_auto_batch(params, ssd, replicas, lambda size: int(min(numbers_of_all(strategy, size))))
    _check_stages(ssd, params, strategy)
    synchronize_batch_norm(ssd, params.train.sync_batch_norm)
    return ssd, params


def _expect_background(ssd: SSD, params: ParamSet) -> None:
    """With the focal loss, initialises class heads to predict an object with probability `OBJECT_PRIOR`.

    Lin et al., arXiv:1708.02002, sections 3.3 and 4.1, in Detectron's form for a softmax: without
    weights, background has 0.99 and each of C classes 0.01 / C.
    """
    if params.train.loss.focal is None:
        return
    classes = len(ssd.classes)
    background = math.log((1 - OBJECT_PRIOR) * classes / OBJECT_PRIOR)
    for name, _ in ssd.feature_maps:
        bias = ssd.network.get_layer(f"{name}_logits").bias
        each = np.zeros((bias.shape[0] // (classes + 1), classes + 1), np.float32)
        each[:, 0] = background
        bias.assign(each.reshape(-1))


def _check_stages(ssd: SSD, params: ParamSet, strategy: Any) -> None:
    """Finds errors in later stages before the first one is trained.

    Raises:
        ParamError: a stage names layers that are not there.
        TrainingError: a batch cannot be divided evenly among the devices.
    """
    names = list(named_weights(ssd))
    for number, stage in enumerate(params.train.stages):
        set_trainable(ssd, stage.trainable, stage.freeze_batch_norm)
        check_scopes(ssd, f"train.stages.{number}.rate_factors", list(stage.rate_factors), names)
        check_batch(strategy, batch_size(stage), stage.accumulate)


def _warn_of_recall(ssd: SSD, params: ParamSet, data: Path, manifest: Manifest, callback: TrainingCallback) -> None:
    """Warns if default boxes miss many ground-truth boxes of the first images."""
    split = manifest.train_split(params.data.train_split)
    ground_truth = training_boxes(read_records(data, split), params.model.image_size, params.data)
    boxes = [of_image.numpy() for of_image, _ in iterate(ground_truth.take(RECALL_IMAGES), data, split)]
    if not sum(map(len, boxes)):
        return
    iou = params.train.loss.match_iou
    recall = sampled_recall(np.concatenate(boxes), ssd.default_boxes, iou).recall
    if recall < ENOUGH_RECALL:
        message = f"the default boxes overlap only {recall:.1%} of the ground-truth boxes by {iou:g} or more"
        callback.on_warning(TrainingWarning(message, "low_recall", data=data))
