"""Does training wait for its data? Images a second, measured against peers in the same run.

    python benchmarks/data_pipeline.py RECORDS [--seconds 10] [--params mobilenet-ssd300-1917 vgg16-ssd300]

RECORDS is a folder made by `ssd data convert`. Measured in turn: plain decoding and resizing of the
same records with tf.data, and the whole augmentation chain, each three times and the best taken;
and what a training step of each param set consumes when its batch is already in memory, once.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
import tensorflow as tf

from ssdcore.contract.plugins import load_plugins
from ssdcore.data.pipeline import read_records, training_stream
from ssdcore.data.records.index import RecordIndex
from ssdcore.data.records.manifest import Manifest
from ssdcore.data.records.record import decode, parse
from ssdcore.model import build_ssd
from ssdcore.model.variables import set_trainable
from ssdcore.params import AugmentParams, DataParams
from ssdcore.training.step import make_step
from ssdcore.training.update import Update

SIZE = (300, 300)
BATCH = 16
ROUNDS = 3


def plain(folder: Path, split: str) -> Iterable:
    """Decoding and resizing only."""

    def prepare(serialized):
        return tf.image.resize(decode(parse(serialized)["image"]), SIZE)

    records = read_records(folder, split).repeat()
    return records.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(2)


def chain(folder: Path, split: str, augmentation: AugmentParams) -> Iterable:
    """Everything that training does to its images, but for the targets."""
    stream = training_stream(RecordIndex.of_split(folder, split), (0, 0), 0, SIZE, DataParams(), augmentation)
    return stream.map(lambda image: image.image).batch(BATCH).prefetch(2)


def images_per_second(batches: Iterable, seconds: float, warm_up: int = 4) -> float:
    """Throughput after a warm-up of some batches."""
    iterator = iter(batches)
    for _ in range(warm_up):
        next(iterator)
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        images += next(iterator).shape[0]
    return images / (time.perf_counter() - start)


def step_per_second(name: str, seconds: float) -> float:
    """Images a second that a training step on one batch in memory consumes."""
    plugins = load_plugins()
    params = plugins.param_sets[name]
    ssd = build_ssd(params, [str(number) for number in range(20)], plugins)
    set_trainable(ssd, "all")
    learning = {variable.path: variable for variable in ssd.network.trainable_variables}
    update = Update(params.train.stages[-1], learning, 1000, 100.0)
    step = make_step(ssd, params.train, update, None, None, 1, tf.distribute.get_strategy())
    boxes = len(ssd.default_boxes)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(0, 255, (BATCH, *params.model.image_size, 3)), tf.float32)
    labels = tf.constant((rng.random((BATCH, boxes)) < 0.003).astype(np.int32))
    batch = (images, labels, tf.zeros((BATCH, boxes, 4)))

    def batches():
        while True:
            step(batch, tf.zeros(3)).numpy()
            yield images

    return images_per_second(batches(), seconds, warm_up=1)


def best(measure: Callable[[], float]) -> float:
    return max(measure() for _ in range(ROUNDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--params", nargs="*", default=["mobilenet-ssd300-1917", "vgg16-ssd300"])
    arguments = parser.parse_args()
    split = Manifest.load(arguments.records).train_split(None)
    decoding = best(lambda: images_per_second(plain(arguments.records, split), arguments.seconds))
    print(f"plain decode and resize      {decoding:7.1f} img/s")
    parts = {"whole chain": AugmentParams()}
    for left_out in ("photometric", "expand", "crop"):
        parts[f"  without {left_out}"] = AugmentParams(**{left_out: None})
    parts["  bilinear only"] = AugmentParams(interpolations=("bilinear",))
    rates = {}
    for name, augmentation in parts.items():
        batches = chain(arguments.records, split, augmentation)
        rates[name] = best(lambda batches=batches: images_per_second(batches, arguments.seconds))
        print(f"{name:28} {rates[name]:7.1f} img/s  {rates[name] / decoding:5.2f} x plain")
    for name in arguments.params:
        consumed = step_per_second(name, arguments.seconds)
        print(f"step of {name:20} {consumed:7.1f} img/s  chain is {rates['whole chain'] / consumed:5.1f} x as fast")


if __name__ == "__main__":
    main()
