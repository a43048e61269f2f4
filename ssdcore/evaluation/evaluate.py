"""Runs a detector over a split and scores it."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssdcore.data.pipeline import evaluation_batches, read_records, whole
from ssdcore.data.records.manifest import Manifest
from ssdcore.detection.predict import split_inference
from ssdcore.errors import CheckpointError
from ssdcore.evaluation.ground_truth import Found, Truth, read_truths
from ssdcore.evaluation.scores import Evaluation, Speed, Tally
from ssdcore.model import SSD
from ssdcore.model.postprocess import DetectionBatch
from ssdcore.params import EvalParams

OnBatch = Callable[[int, int], None]
OnImage = Callable[[Truth, Found], None]


class Evaluator:
    """Scores a detector on a split of converted data, as often as its weights change."""

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
            params: post-processing and metric.
            max_images: only so many, from the first on.
            threads: that read and decode; None: as many as TensorFlow likes.

        Raises:
            DataError: folder or split are missing or damaged.
            CheckpointError: the data has other classes than the detector.
        """
        check_classes(ssd.classes, Manifest.load(folder).classes, folder)
        records = read_records(folder, split)
        self.truths = read_truths(folder, split)[:max_images]
        self._ssd = ssd
        self._params = params
        self._batches = evaluation_batches(
            records.take(len(self.truths)),
            ssd.model.image_size,
            ssd.resize,
            params.batch_size,
        )
        if threads is not None:
            options = tf.data.Options()
            options.threading.private_threadpool_size = options.autotune.cpu_budget = threads
            self._batches = self._batches.with_options(options)
        self._where = (folder, split)
        self._network, self._finish = split_inference(ssd, params)
        self._warm = False

    def run(
        self, on_batch: OnBatch = lambda done, total: None, on_image: OnImage = lambda truth, found: None
    ) -> Evaluation:
        """Evaluates with the weights that the detector has now.

        Args:
            on_batch: progress, with images done and images in all.
            on_image: is given what is to be found, and what was found, in each image in turn.

        Raises:
            DataError: a record cannot be read or decoded.
        """
        self._warm_up()
        tally = Tally(self._ssd.classes, [truth.name for truth in self.truths], self._params)
        seconds = dict.fromkeys(("read", "network", "nms"), 0.0)
        for found in self._found(seconds):
            for one in _in_pixels(found, self.truths[tally.images :]):
                on_image(self.truths[tally.images], one)
                tally.add(self.truths[tally.images], one)
            on_batch(tally.images, len(self.truths))
        return tally.evaluation(self._params.score_threshold, Speed(tally.images, **seconds))

    def _warm_up(self) -> None:
        """Lets TensorFlow build and tune its graphs, once, so that nobody takes that for the detector's speed."""
        if not self._warm:
            shape = (min(self._params.batch_size, len(self.truths)), *self._ssd.model.image_size, 3)
            self._finish(self._network(tf.zeros(shape)), tf.tile([[0.0, 0.0, 1.0, 1.0]], [shape[0], 1]))
            self._warm = True

    def _found(self, seconds: dict[str, float]) -> Iterator[DetectionBatch]:
        """The detections of each batch; the time of each part is added to `seconds`."""
        batches = whole(self._batches, *self._where)
        while (batch := _timed(seconds, "read", next, batches, None)) is not None:
            outputs = _timed(seconds, "network", self._network, batch.images)
            found = _timed(seconds, "nms", self._finish, outputs, batch.windows)
            yield DetectionBatch(*(part.numpy() for part in found))


def _timed(seconds: dict[str, float], part: str, work: Callable[..., Any], *arguments: Any) -> Any:
    start = time.perf_counter()
    result = work(*arguments)
    _wait_for(result)
    seconds[part] += time.perf_counter() - start
    return result


def _wait_for(result: Any) -> None:
    """Returns when a device has computed all tensors; TensorFlow's `sync_devices` fails in one worker of several."""
    for tensor in filter(tf.is_tensor, tf.nest.flatten(result)):
        tf.reshape(tensor, [-1])[:1].numpy()


def _in_pixels(found: DetectionBatch, truths: Iterable[Truth]) -> Iterator[Found]:
    """The detections of each image of a batch, in pixels of the original."""
    for boxes, scores, labels, count, truth in zip(*found, truths, strict=False):
        height, width = truth.size
        sides = np.array([width, height, width, height], np.float64)
        yield Found(boxes[:count] * sides, scores[:count].astype(np.float64), labels[:count].astype(np.int64))


def check_classes(model: tuple[str, ...], data: tuple[str, ...], folder: Path) -> None:
    """Refuses data whose class list is not the model's.

    Raises:
        CheckpointError: naming both lists.
    """
    if model != data:
        raise CheckpointError(
            f"the model knows the classes {', '.join(model)}; the data in {folder.absolute()} has "
            f"{', '.join(data)}; convert the data with --classes {','.join(model)}, or train on this data"
        )
