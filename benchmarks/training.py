"""What does the training loop cost? `train` against a bare step of the same network, in turns in one process.

    python benchmarks/training.py RECORDS [--params mobilenet025-ssd300 ...] [--precisions float32 ...]
                                          [--batch 16] [--rounds 7] [--steps 12]

RECORDS is a folder made by `ssd data convert`. `ssdcore.training.train` runs on it as ever: it reads,
augments, clips, measures and logs; its time goes from the end of a step to the end of the next, with all
that lies between. After every turn it stands still while a second network of the same kind learns from one
batch in memory: forward, loss, gradient, the same Keras optimizer, nothing else. The first `SETTLING`
steps of a turn do not count, since batches were made ready for them while the other had its turn.
A ratio is that of two turns that follow each other, above 1 where the trainer is the faster; the median
of all rounds is shown, for time as the clock has it and for the time that this process had a core. The
second is what to look at on a machine with other work: the trainer's further threads win it a larger
share of the cores then.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import tensorflow as tf

from ssdcore.data.manifest import Manifest
from ssdcore.model import SSD, build_ssd
from ssdcore.model.loss import multibox_loss
from ssdcore.model.variables import set_trainable
from ssdcore.params import Fixed, ParamSet
from ssdcore.plugins import Plugins, load_plugins
from ssdcore.training import TrainingListener, train
from ssdcore.training.feed import Feed
from ssdcore.training.optimizers import make_optimizer
from ssdcore.training.progress import Progress

PARAMS = ("mobilenet025-ssd300", "mobilenet-ssd300", "vgg16-ssd300")
PRECISIONS = ("float32", "mixed_bfloat16")
SETTLING = 4


def prepared(params: ParamSet, steps: int, batch: int) -> ParamSet:
    """Some steps of a param set's last stage, without evaluations; at a rate that random weights survive."""
    change = {"epochs": None, "steps": steps, "batch_size": batch, "learning_rate": Fixed(learning_rate=1e-6)}
    stages = (params.train.stages[-1].model_copy(update=change),)
    short = params.train.model_copy(update={"stages": stages, "eval_every": 0})
    return params.model_copy(update={"train": short})


def bare_step(ssd: SSD, records: Path) -> Callable[[], object]:
    """A compiled step on the first batch of the records."""
    stage, loss = ssd.params.train.stages[0], ssd.params.train.loss
    feed = Feed(ssd, records, tf.distribute.get_strategy(), TrainingListener())
    images, labels, offsets = next(feed.batches(stage, Progress(feed.images), 1))
    set_trainable(ssd, "all")
    variables = ssd.network.trainable_variables
    optimizer = make_optimizer(stage.optimizer)
    optimizer.build(variables)

    @tf.function
    def step() -> object:
        with tf.GradientTape() as tape:
            found = ssd.network(images, training=True)
            sums = multibox_loss(found["logits"], found["offsets"], labels, offsets, loss)
            classes = sums.positive_classes + sums.negative_classes
            total = (classes + loss.box_weight * sums.boxes) / sums.positives
            total += tf.add_n([tf.zeros([]), *ssd.network.losses])
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return total

    return step


class Seconds(NamedTuple):
    """Of a step, or at a moment: by the clock, and of all cores that this process had."""

    clock: float
    cores: float


def now() -> Seconds:
    return Seconds(time.perf_counter(), time.process_time())


def seconds_per_step(ends: list[Seconds]) -> Seconds:
    """Of a turn, from when its steps ended, the begin first; without the settling ones."""
    first, last, steps = ends[SETTLING], ends[-1], len(ends) - 1 - SETTLING
    return Seconds((last.clock - first.clock) / steps, (last.cores - first.cores) / steps)


@dataclass
class Turns(TrainingListener):
    """Lets `bare` take a turn after each one of the trainer; keeps what the steps of all turns took."""

    bare: Callable[[], object]
    steps: int
    trainer_turns: list[Seconds] = field(default_factory=list)
    bare_turns: list[Seconds] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    _ends: list[Seconds] = field(default_factory=list)

    def on_step(self, done: int, total: int) -> None:
        self._ends.append(now())
        if done % self.steps:
            return
        bare_ends = [now(), *(self._end_of_bare_step() for _ in range(self.steps))]
        if done > self.steps:  # the first turns hold the compilation
            self.trainer_turns.append(seconds_per_step(self._ends))
            self.bare_turns.append(seconds_per_step(bare_ends))
        self._ends = [now()]

    def on_log(self, row: Mapping[str, float | int | str]) -> None:
        self.waits.append(float(row.get("data_wait", 0)))

    def _end_of_bare_step(self) -> Seconds:
        self.bare()
        return now()


def measure(params: ParamSet, precision: str, records: Path, plugins: Plugins, steps: int) -> Turns:
    """Runs the trainer with a bare peer beside it."""
    params = params.override([f"train.precision={precision}"])
    classes = Manifest.load(records).classes
    turns = Turns(bare_step(build_ssd(params, classes, plugins, precision), records), steps)
    with tempfile.TemporaryDirectory() as folder:
        train(params, records, Path(folder) / "run", plugins, listener=turns)
    return turns


def shown(turns: Turns, batch: int) -> str:
    pairs = list(zip(turns.bare_turns, turns.trainer_turns, strict=True))
    rates = [batch / median(turn.clock for turn in found) for found in zip(*pairs, strict=True)]
    by_clock = sorted(bare.clock / trainer.clock for bare, trainer in pairs)
    by_cores = sorted(bare.cores / trainer.cores for bare, trainer in pairs)
    ratios = "  ".join(f"{median(found):.3f} ({found[0]:.2f}-{found[-1]:.2f})" for found in (by_clock, by_cores))
    return f"{rates[0]:7.2f} {rates[1]:7.2f}  {ratios}  {median(turns.waits):6.1%}  {os.getloadavg()[0]:4.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("--params", nargs="*", default=PARAMS)
    parser.add_argument("--precisions", nargs="*", default=PRECISIONS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=12, help=f"in a turn, {SETTLING} of them uncounted")
    arguments = parser.parse_args()
    plugins = load_plugins()
    print(f"{'':38} bare   train  ratio by clock      by core time        waited  load")
    for name in arguments.params:
        params = prepared(plugins.param_sets[name], (arguments.rounds + 1) * arguments.steps, arguments.batch)
        for precision in arguments.precisions:
            turns = measure(params, precision, arguments.records, plugins, arguments.steps)
            print(f"{name:20} {precision:15} {shown(turns, arguments.batch)}", flush=True)


if __name__ == "__main__":
    main()
