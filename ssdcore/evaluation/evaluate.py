"""Scores a detector on a split."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.data.pipeline import evaluation_batches, iterate, read_records
from ssdcore.data.records.ground_truth import GroundTruth, read_ground_truth
from ssdcore.data.records.manifest import Manifest
from ssdcore.detection.detections import Detections, to_detections
from ssdcore.detection.predict import split_inference
from ssdcore.errors import CheckpointError
from ssdcore.evaluation.scores import Evaluation, Speed, Tally
from ssdcore.model import SSD
from ssdcore.params import EvalParams
from ssdcore.runs.checkpoint import Checkpoint, load_checkpoint, restore_model
from ssdcore.runs.run_folder import find_checkpoint
from ssdcore.types import OnProgress

OnImage = Callable[[GroundTruth, Detections], None]


def evaluate(
    path: Path | str,
    data: Path | str,
    *,
    split: str | None = None,
    params: EvalParams | None = None,
    plugins: Plugins | None = None,
) -> Evaluation:
    """Scores a trained detector on a split of converted data.

    Args:
        path: run folder (its best checkpoint is used, else its last) or checkpoint; averaged weights are used if
            there are any.
        data: folder of records.
        split: its name; None: that of the param set, else `test` or `val`.
        params: post-processing and metric; None: the checkpoint's.
        plugins: where the backbone comes from; None: the installed ones.

    Raises:
        CheckpointError: nothing usable is there, or the data has other classes than the detector.
        DataError: data or split are missing or damaged.
        PluginError: the backbone is not installed.
    """
    checkpoint = load_checkpoint(find_checkpoint(Path(path)))
    split = eval_split(checkpoint, Path(data)) if split is None else split
    ssd = restore_model(checkpoint, plugins or load_plugins())
    return Evaluator(ssd, Path(data), split, params or checkpoint.params.eval).run()


def eval_split(checkpoint: Checkpoint, folder: Path) -> str:
    """The split to evaluate on where none is named: that of the param set, else test or val.

    Raises:
        DataError: the data has neither.
    """
    params = checkpoint.params.data
    return Manifest.load(folder).eval_split(params.eval_split, params.train_split or "")


def was_chosen_on(checkpoint: Checkpoint, folder: Path, split: str) -> bool:
    """Whether a checkpoint was chosen as the best of its run by its score on these images."""
    same_data = checkpoint.made.get("data_digest") == Manifest.load(folder).source
    return checkpoint.path.name == "best.npz" and same_data and checkpoint.params.data.eval_split == split


class Evaluator:
    """Scores a detector on a split of converted data, with its present weights, any number of times.

    Attributes:
        images: ground truth of the images to score on.
        split: their split.
    """

    def __init__(
        self,
        ssd: SSD,
        folder: Path,
        split: str,
        params: EvalParams,
        max_images: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Prepares an evaluation.

        Args:
            ssd: the detector.
            folder: of records, with a manifest.
            split: name of the split.
            params: of post-processing and metric.
            max_images: the first so many only.
            threads: that read and decode; None: TensorFlow decides.

        Raises:
            DataError: folder or split is missing or damaged.
            CheckpointError: the data has other classes than the detector.
        """
        check_classes(ssd.classes, Manifest.load(folder).classes, folder)
        records = read_records(folder, split)
        self.images = read_ground_truth(folder, split)[:max_images]
        self._ssd, self._params = ssd, params
        records = records.take(len(self.images))
        self._batches = evaluation_batches(records, ssd.model.image_size, ssd.resize, params.batch_size)
        if threads is not None:
            options = tf.data.Options()
            options.threading.private_threadpool_size = options.autotune.cpu_budget = threads
            self._batches = self._batches.with_options(options)
        self._folder, self.split = folder, split
        self._network, self._finish = split_inference(ssd, params)
        self._warm = False

    def run(
        self, on_batch: OnProgress = lambda done, total: None, on_image: OnImage = lambda truth, detections: None
    ) -> Evaluation:
        """Evaluates with the weights that the detector has now.

        Args:
            on_batch: progress: images done, and their total.
            on_image: called with ground truth and detections of each image in turn.

        Raises:
            DataError: a record cannot be read or decoded.
        """
        self._warm_up()
        tally = Tally(self._ssd.classes, [truth.name for truth in self.images], self._params)
        seconds = dict.fromkeys(("read", "network", "nms"), 0.0)
        batches = iterate(self._batches, self._folder, self.split)
        while (batch := _timed(seconds, "read", next, batches, None)) is not None:
            outputs = _timed(seconds, "network", self._network, batch.images)
            detected = _timed(seconds, "nms", self._finish, outputs, batch.windows)
            truths = self.images[tally.images : tally.images + len(batch.images)]
            in_each = to_detections(detected, [truth.size for truth in truths], self._ssd.classes, np.float64)
            for truth, detections in zip(truths, in_each, strict=True):
                on_image(truth, detections)
                tally.add(truth, detections)
            on_batch(tally.images, len(self.images))
        return tally.evaluation(self._params.score_threshold, Speed(tally.images, **seconds))

    def _warm_up(self) -> None:
        """Builds and tunes the graphs, once, so that it does not count as the detector's time."""
        if not self._warm:
            shape = (min(self._params.batch_size, len(self.images)), *self._ssd.model.image_size, 3)
            self._finish(self._network(tf.zeros(shape)), tf.tile([[0.0, 0.0, 1.0, 1.0]], [shape[0], 1]))
            self._warm = True


def _timed(seconds: dict[str, float], part: str, work: Callable[..., Any], *arguments: Any) -> Any:
    start = time.perf_counter()
    result = work(*arguments)
    # Waits until all tensors are computed; TensorFlow's `sync_devices` fails in one worker of several.
    for tensor in filter(tf.is_tensor, tf.nest.flatten(result)):
        tf.reshape(tensor, [-1])[:1].numpy()
    seconds[part] += time.perf_counter() - start
    return result


def check_classes(model: tuple[str, ...], data: tuple[str, ...], folder: Path) -> None:
    """Checks that data has the model's class list.

    Raises:
        CheckpointError: it has another one; the message has both.
    """
    if model != data:
        raise CheckpointError(
            f"the model knows the classes {', '.join(model)}; the data in {folder.absolute()} has {', '.join(data)}",
            "other_classes",
            classes=",".join(model),
        )
