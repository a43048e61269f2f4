"""`train`: from parameters and data to a run folder."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ssdcore.contract.plugins import Plugins
from ssdcore.data.pipeline import read_records, training_boxes, whole
from ssdcore.data.records.manifest import Manifest
from ssdcore.geometry.recall import sampled_recall
from ssdcore.model import SSD, build_ssd
from ssdcore.model.variables import (
    backbone_variables,
    check_scopes,
    named_weights,
    set_trainable,
    synchronize_batch_norm,
)
from ssdcore.params import ParamSet, TrainParams
from ssdcore.runs.provenance import provenance
from ssdcore.runs.run_folder import RunFolder
from ssdcore.training.auto_batch import resolve_auto_batch
from ssdcore.training.callback import TrainingCallback
from ssdcore.training.checkpointing.resume import open_run, refuse_frozen_noise
from ssdcore.training.dataset import TrainingDataset
from ssdcore.training.distributed.devices import check_batch, describe, explain_lost_worker, is_chief, numbers_of_all
from ssdcore.training.lock import alone_in
from ssdcore.training.precision import choose_precision
from ssdcore.training.profile import Profile
from ssdcore.training.progress import batch_size
from ssdcore.training.scoring import Scorer
from ssdcore.training.trainer import Trainer
from ssdcore.weights import load_weights

ENOUGH_RECALL = 0.95
"""Share of the objects that default boxes should overlap by the matching threshold."""

OBJECT_PRIOR = 0.01
"""Share of the default boxes that are expected to be objects at the start, by the focal loss."""

RECALL_IMAGES = 1000
"""Images whose objects are looked at for that."""


def train(
    params: ParamSet,
    data: Path,
    out: Path,
    plugins: Plugins,
    *,
    resume: bool = False,
    callback: TrainingCallback | None = None,
    strategy: Any = None,
    profile: bool = False,
) -> SSD:
    """Trains a detector and keeps everything in a run folder.

    With a strategy of several workers every one of them calls this; `data` and `out` must be the
    same folders for all, and the first worker alone writes.

    Args:
        params: what to train, and how.
        data: folder of records.
        out: run folder; must not exist, or be empty, unless `resume` is set.
        plugins: where the backbone comes from.
        resume: go on with the run in `out`.
        callback: is told of progress.
        strategy: a `tf.distribute.Strategy` (`ssdcore.training.distributed.devices.make_strategy`); None: one device.
        profile: trace steps 11 to 20 for TensorBoard's profiler.

    Returns:
        The trained detector, with its last weights, not their averages.

    Raises:
        SsdError: parameters, data, weights or run folder are unusable; says which and why.
        KeyboardInterrupt, Terminated: SIGINT or SIGTERM came; raised after a checkpoint has been written.
    """
    callback = callback or TrainingCallback()
    strategy = strategy or tf.distribute.get_strategy()
    run = RunFolder(out)
    with alone_in(run) if is_chief(strategy) else nullcontext():
        return _train(params, data, run, plugins, resume, callback, strategy, profile)


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
    manifest = Manifest.load(data)
    opened = open_run(run, params, manifest, data, resume=resume, chief=is_chief(strategy))
    if opened.warning:
        callback.on_warning(opened.warning)
    if params.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    # A plain copy, for evaluations; and to learn what kind of network it is before the other is built.
    copy = build_ssd(opened.params, manifest.classes, plugins)
    precision = choose_precision(opened.params.train.precision, copy.network)
    if precision == "mixed_float16" and not tf.config.get_visible_devices("GPU"):
        callback.on_warning("mixed_float16 is many times slower than float32 on a CPU (train.precision=auto)")
    keras.utils.set_random_seed(params.train.seed)
    tracer = Profile(run.events if profile and is_chief(strategy) else None)
    with strategy.scope(), explain_lost_worker(strategy):
        params = opened.params
        ssd = build_ssd(params, manifest.classes, plugins, precision)
        if opened.checkpoint is None:
            _expect_background(ssd, params)
            _load_weights(ssd, params, plugins, callback)
            params = resolve_auto_batch(
                params,
                ssd,
                strategy.num_replicas_in_sync,
                lambda size: int(min(numbers_of_all(strategy, size))),
            )
        _check_stages(ssd, params.train, strategy)
        synchronize_batch_norm(ssd, params.train.sync_batch_norm)
        feed = TrainingDataset(ssd, params, data, strategy, callback)
        scorer = _make_scorer(copy, data, params) if is_chief(strategy) else None
        made = _provenance(params, data, manifest, plugins)
        callback.on_start(_summary(ssd, params, feed, precision, strategy))
        _warn_of_recall(ssd, params, data, callback)
        trainer = Trainer(ssd, params, feed, run, callback, strategy, scorer, made, precision)
        if opened.checkpoint is None:
            trainer.begin()
        else:
            trainer.go_on(opened.checkpoint)
        try:
            trainer.run_stages(tracer)
        finally:
            tracer.end()
    return ssd


def _expect_background(ssd: SSD, params: ParamSet) -> None:
    """With the focal loss, lets random class heads begin with an object in one of a hundred boxes.

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


def _load_weights(ssd: SSD, params: ParamSet, plugins: Plugins, callback: TrainingCallback) -> None:
    """The weights to start from, if the parameters name a file."""
    weights = params.train.weights
    if weights.file is None:
        return
    report = load_weights(ssd, plugins, weights)
    if not set(report.matched) >= {f"{ssd.backbone.name}/{name}" for name in backbone_variables(ssd)}:
        refuse_frozen_noise(params)
    callback.on_weights(report)


def _check_stages(ssd: SSD, params: TrainParams, strategy: Any) -> None:
    """Finds faults of later stages before the first one is trained.

    Raises:
        ParamError: a stage names layers that are not there.
        TrainingError: a batch cannot be divided among the devices.
    """
    names = list(named_weights(ssd))
    for number, stage in enumerate(params.stages):
        set_trainable(ssd, stage.trainable, stage.freeze_batch_norm)
        check_scopes(ssd, f"train.stages.{number}.rate_factors", list(stage.rate_factors), names)
        check_batch(strategy, batch_size(stage), stage.accumulate)


def _make_scorer(copy: SSD, data: Path, params: ParamSet) -> Scorer | None:
    if not params.train.eval_every or params.data.eval_split is None:
        return None
    return Scorer(copy, params, data, params.data.eval_split)


def _provenance(params: ParamSet, data: Path, manifest: Manifest, plugins: Plugins) -> dict[str, Any]:
    provider = plugins.providers[params.backbone]
    return provenance(str(data.absolute()), manifest.source, [provider.distribution])


def _warn_of_recall(ssd: SSD, params: ParamSet, data: Path, callback: TrainingCallback) -> None:
    """Tells if default boxes miss many of the first objects."""
    split = Manifest.load(data).train_split(params.data.train_split)
    objects = training_boxes(read_records(data, split), params.model.image_size, params.data)
    boxes = [found.numpy() for found, _ in whole(objects.take(RECALL_IMAGES), data, split)]
    if not sum(map(len, boxes)):
        return
    found = sampled_recall(np.concatenate(boxes), ssd.default_boxes, params.train.loss.match_iou)
    if found.recall < ENOUGH_RECALL:
        callback.on_warning(
            f"the default boxes overlap only {found.recall:.1%} of the objects by {params.train.loss.match_iou:g} "
            f"or more; 'ssd anchors {data} --params PARAMS' proposes better ones"
        )


def _summary(ssd: SSD, params: ParamSet, feed: TrainingDataset, precision: str, strategy: Any) -> str:
    parts = f"{params.backbone} + {params.model.name}, {len(ssd.default_boxes)} default boxes"
    on = describe(strategy, batch_size(params.train.stages[0]))
    return (
        f"{parts}, {len(ssd.classes)} classes, {feed.images} images in {params.data.train_split!r}; {on}, {precision}"
    )
