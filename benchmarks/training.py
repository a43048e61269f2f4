"""What does the training loop cost? `train` against a bare step of the same network, in turns in one process.

    python benchmarks/training.py RECORDS [--params mobilenet025-ssd300 ...] [--precisions float32 ...]
                                          [--batch 16] [--rounds 7] [--steps 12]

RECORDS is a folder made by `ssd data convert`. `ssdcore.training.train` runs on it as ever: it reads,
augments, clips, measures and logs; its time goes from the end of a step to the end of the next, with all
that lies between. After every turn it stands still while a second network of the same kind learns: forward,
loss, gradient, the same Keras optimizer, nothing else; first from one batch in memory (bare), then from
batches that are read and augmented as the trainer's are (fed). The first `SETTLING` steps of a turn do not
count, since batches were made ready for them, and for others, while another had its turn.

A ratio is that of turns that follow each other, above 1 where the trainer is the faster; the median of all
rounds is shown, for time by the clock, and for the time that this process had a core. The second is what to
look at on a machine with other work, where further threads win the trainer a larger share of the cores; it
cannot show what fills cores that were idle.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import tensorflow as tf

from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.data.records.manifest import Manifest
from ssdcore.model import SSD, build_ssd
from ssdcore.model.loss import multibox_loss
from ssdcore.model.variables import set_trainable
from ssdcore.params import Fixed, ParamSet, TrainParams
from ssdcore.training import TrainingCallback, train
from ssdcore.training.dataset import TrainingDataset
from ssdcore.training.optimizers import make_optimizer
from ssdcore.training.progress import Progress

PARAMS = ("mobilenet025-ssd300", "mobilenet-ssd300", "vgg16-ssd300")
PRECISIONS = ("float32", "mixed_bfloat16")
SETTLING = 4
COLUMNS = ("bare", "fed", "train")
HEADINGS = "train/bare: clock  core time         train/fed: clock  core time         waited  load"


def prepared(params: ParamSet, steps: int, batch: int) -> ParamSet:
    """Some steps of a param set's last stage, without evaluations; at a rate that random weights survive."""
    change = {"epochs": None, "steps": steps, "batch_size": batch, "learning_rate": Fixed(learning_rate=1e-6)}
    stages = (params.train.stages[-1].model_copy(update=change),)
    short = params.train.model_copy(update={"stages": stages, "eval_every": 0})
    return params.model_copy(update={"train": short})


def peers(ssd: SSD, params: ParamSet, records: Path) -> dict[str, Callable[[], object]]:
    """Functions that take one step: on a batch in memory, and on further batches of the records."""
    stage = params.train.stages[0]
    feed = TrainingDataset(ssd, params, records, tf.distribute.get_strategy(), TrainingCallback())
    batches = feed.batches(stage, Progress(feed.images), (stage.steps or 0) + 1)
    step, batch = bare_step(ssd, params.train), next(batches)
    return {"bare": lambda: step(*batch), "fed": lambda: step(*next(batches))}


def bare_step(ssd: SSD, params: TrainParams) -> Callable[..., object]:
    """A compiled step of images, labels and offsets."""
    loss = params.loss
    set_trainable(ssd, "all")
    variables = ssd.network.trainable_variables
    optimizer = make_optimizer(params.stages[0].optimizer)
    optimizer.build(variables)

    @tf.function
    def step(images: object, labels: object, offsets: object) -> object:
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
class Turns(TrainingCallback):
    """Lets the others take turns after each one of the trainer; keeps what the steps of all turns took."""

    others: dict[str, Callable[[], object]]
    steps: int
    taken: dict[str, list[Seconds]] = field(default_factory=lambda: defaultdict(list))
    waits: list[float] = field(default_factory=list)
    _ends: list[Seconds] = field(default_factory=list)

    def on_step(self, done: int, total: int) -> None:
        self._ends.append(now())
        if done % self.steps:
            return
        turns = {"train": self._ends} | {name: self._turn(step) for name, step in self.others.items()}
        if done > self.steps:  # the first turns hold the compilation
            for name, ends in turns.items():
                self.taken[name].append(seconds_per_step(ends))
        self._ends = [now()]

    def on_log(self, row: Mapping[str, float | int | str]) -> None:
        self.waits.append(float(row.get("data_wait", 0)))

    def _turn(self, step: Callable[[], object]) -> list[Seconds]:
        ends = [now()]
        for _ in range(self.steps):
            step()
            ends.append(now())
        return ends


def measure(params: ParamSet, precision: str, records: Path, plugins: Plugins, steps: int) -> Turns:
    """Runs the trainer with its peers beside it."""
    params = params.override([f"train.precision={precision}"])
    ssd = build_ssd(params, Manifest.load(records).classes, plugins, precision)
    turns = Turns(peers(ssd, params, records), steps)
    with tempfile.TemporaryDirectory() as folder:
        train(params, records, Path(folder) / "run", plugins, callback=turns)
    return turns


def shown(turns: Turns, batch: int) -> str:
    rates = "".join(f"{batch / median(one.clock for one in turns.taken[name]):8.2f}" for name in COLUMNS)
    ratios = [
        ratio(turns, peer, clock) for peer in ("bare", "fed") for clock in (attrgetter("clock"), attrgetter("cores"))
    ]
    return f"{rates}  {'  '.join(ratios)}  {median(turns.waits):6.1%}  {os.getloadavg()[0]:4.1f}"


def ratio(turns: Turns, peer: str, clock: Callable[[Seconds], float]) -> str:
    """The trainer's speed by a peer's: median, least and most."""
    pairs = zip(turns.taken[peer], turns.taken["train"], strict=True)
    found = sorted(clock(other) / clock(trainer) for other, trainer in pairs)
    return f"{median(found):.2f} ({found[0]:.2f}-{found[-1]:.2f})"


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
    print(f"{'images/s:':36}{''.join(f'{name:>8}' for name in COLUMNS)}  {HEADINGS}")
    for name in arguments.params:
        params = prepared(plugins.param_sets[name], (arguments.rounds + 1) * arguments.steps, arguments.batch)
        for precision in arguments.precisions:
            turns = measure(params, precision, arguments.records, plugins, arguments.steps)
            print(f"{name:20} {precision:15} {shown(turns, arguments.batch)}", flush=True)


if __name__ == "__main__":
    main()
