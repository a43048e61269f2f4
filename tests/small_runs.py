"""A detector so small that its runs take seconds, the images it learns from, and ways to compare runs."""

import csv
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ssd_program import environment_with
from tensorboard.backend.event_processing.plugin_event_accumulator import TENSORS, EventAccumulator

from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.synth import synthesize
from ssdcore.errors import TrainingWarning
from ssdcore.params import ParamSet
from ssdcore.runs.checkpoint import load_checkpoint
from ssdcore.training import TrainingCallback

MODULE = """
from ssdcore import ArgScope, Backbone, Preprocessing, hookimpl
from ssdcore.contract.arg_scope import BatchNorm

def pond(inputs, scope):
    ends = {}
    for number, filters in enumerate((4, 8, 8, 8), start=1):
        inputs = ends[f"stage{number}"] = scope.conv2d(inputs, filters, 3, strides=2, name=f"stage{number}")
    return inputs, ends

def batch_normalised(**options):
    return ArgScope(**options, norm=BatchNorm())

@hookimpl
def ssdcore_backbones():
    preprocessing = Preprocessing(mean=(127.5,) * 3, scale=1 / 127.5)
    return [Backbone("pond", pond, batch_normalised, preprocessing), Backbone("bare", pond, ArgScope, preprocessing)]
"""
MODEL = """
{name: pond64, image_size: [64, 64], feature_maps: [8, 4], feature_layers: [stage3, stage4], blocks: [],
 default_boxes: {min_sizes: [10, 20], max_sizes: [20, 30], aspect_ratios: [[2], [2]]}}
"""
PARAMS = f"""
backbone: pond
model: {MODEL.strip()}
data: {{parallel_calls: 1}}
augment: {{crop: null}}
train:
  ema_decay: 0.9
  log_every: 3
  eval_every: 1
  save_minutes: 0
  precision: float32
  stages:
  - {{name: first, steps: 6, batch_size: 2, learning_rate: {{kind: fixed, learning_rate: 0.01}}}}
  - {{name: second, steps: 8, batch_size: 2, optimizer: {{kind: adam}}}}
"""
"""Fourteen steps of 2 images over 8 in two stages; evaluations after steps 4, 6, 10, 14, rows each third step."""

BARE = ["train.eval_every=0", "train.save_minutes=100"]
"""Assignments for runs that are neither evaluated nor saved before the end of a stage."""

TIMES = ("images_per_second", "data_wait")


def install_pond(folder: Path) -> Path:
    """Makes the plugin in a folder, which is to be searched for modules: what pip would leave behind."""
    info = folder / "ssd_pond-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "ssd_pond.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ssd-pond\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ssdcore]\npond = ssd_pond\n")
    return folder


def small_params(folder: Path, *assignments: str) -> ParamSet:
    """The param set, read from a file in `folder`."""
    (folder / "pond.yaml").write_text(PARAMS)
    return ParamSet.load(folder / "pond.yaml").override(list(assignments))


class Pond:
    """The installed plugin, its param set, and eight images to learn from and four to be evaluated on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = install_pond(root / "site")
        sys.path.insert(0, str(self.path))
        try:
            self.plugins: Plugins = load_plugins()
        finally:
            sys.path.remove(str(self.path))
        self.params = small_params(root)
        synthesize(root / "voc", 8, 4, seed=1)
        convert(read_labelled(root / "voc"), root / "records")
        self.data = root / "records"
        self._started = 0
        self._server: subprocess.Popen[str] | None = None

    def arguments(self, run: Path, *more: str) -> list[str]:
        """Those of `ssd` that begin a run, or go on with the one that is there."""
        known = ["--resume"] if (run / "checkpoints/last.npz").exists() else ["--params", str(self.root / "pond.yaml")]
        return ["train", "--data", str(self.data), "--out", str(run), *known, *more]

    def environment(self) -> dict[str, str]:
        """For programs that are to find the plugin."""
        return environment_with(self.path, Path(__file__).parent)

    def program(self, *arguments: str) -> "Program":
        """Starts the installed program."""
        messages = self._messages()
        with messages.open("w") as file:
            command = [str(Path(sys.executable).with_name("ssd")), *arguments]
            process = subprocess.Popen(command, env=self.environment(), stdout=subprocess.DEVNULL, stderr=file)
        return Program(process.pid, messages, process.wait)

    def child(self, code: str, *arguments: str) -> "Program":
        """Starts a process that runs some code, then the program; forked, since TensorFlow takes long to import."""
        messages = self._messages()
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-c", SERVER],
                env=self.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._server.stdin
        assert self._server.stdout
        print(json.dumps([code, arguments, str(messages)]), file=self._server.stdin, flush=True)
        answers = self._server.stdout

        def number(kind: str) -> int:
            return next(int(line.split()[1]) for line in answers if line.startswith(kind))

        return Program(number("begin"), messages, lambda: number("end"))

    def _messages(self) -> Path:
        self._started += 1
        return self.root / f"messages-{self._started}.txt"

    def close(self) -> None:
        if self._server:
            self._server.communicate()


SERVER = """
import json, os, sys, traceback
import ssdcli.training_progress, ssdcore.training
from ssdcli.main import main
for line in sys.stdin:
    code, arguments, messages = json.loads(line)
    pid = os.fork()
    if not pid:
        for number, path in enumerate((os.devnull, os.devnull, messages)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
        try:
            exec(code, {})
            status = main(arguments)
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stderr.flush()
        os._exit(status or 0)
    print("begin", pid, flush=True)
    print("end", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""Forks a process for each line it reads: what to run first, the program's arguments, where messages go."""


@dataclass(frozen=True)
class Program:
    """A process, the file that its messages go to, and what waits for its end and gives its exit code."""

    pid: int
    messages: Path
    wait: Callable[[], int]

    def lines(self) -> list[str]:
        return self.messages.read_text().splitlines() if self.messages.exists() else []

    def wait_for(self, begin: str) -> None:
        """Returns when a message begins so."""
        give_up = time.monotonic() + 300
        while not any(line.startswith(begin) for line in self.lines()):
            assert time.monotonic() < give_up, self.lines()
            time.sleep(0.02)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)


class Told(TrainingCallback):
    """Collects the warnings of a run."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def on_warning(self, warning: TrainingWarning) -> None:
        self.warnings.append(str(warning))

    def about(self, part: str) -> list[str]:
        return [message for message in self.warnings if part in message]


def spoil_image(folder: Path, name: str) -> None:
    """Overwrites an image's JPEG bytes with zeros, and mends the record's checksum."""
    (shard,) = folder.glob("trainval*")
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(shard))]
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for record in records:
            example = tf.train.Example.FromString(record)
            (encoded,) = example.features.feature["image/encoded"].bytes_list.value
            if example.features.feature["image/filename"].bytes_list.value[0].decode() == name:
                example.features.feature["image/encoded"].bytes_list.value[0] = bytes(len(encoded))
            writer.write(example.SerializeToString(deterministic=True))


def rows(run: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv without those columns that time has a part in."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def events(run: Path) -> Counter[tuple[int, str, float]]:
    """How often TensorBoard shows each step, name and number; 0 for what is no number."""
    found: Counter[tuple[int, str, float]] = Counter()
    accumulator = EventAccumulator(str(run / "events"), size_guidance={TENSORS: 0}).Reload()
    for tag in set(accumulator.Tags()["tensors"]) - set(TIMES):
        for event in accumulator.Tensors(tag):
            array = tf.make_ndarray(event.tensor_proto)
            number = float(array) if array.dtype == np.float32 and array.ndim == 0 else 0.0
            found[event.step, tag, number] += 1
    return found


def no_event_twice(run: Path) -> bool:
    """Whether each step has one number of each name; the epoch is given with the loss and with the evaluation."""
    seen = [(step, name) for (step, name, _), count in events(run).items() for _ in range(count) if name != "epoch"]
    return len(seen) == len(set(seen))


def differences(one: Path, other: Path) -> list[str]:
    """In what two checkpoints differ, bit by bit, but for where and when they were made."""
    first, second = load_checkpoint(one), load_checkpoint(other)
    found = [f"only one has {name}" for name in first.arrays.keys() ^ second.arrays.keys()]
    for name in first.arrays.keys() & second.arrays.keys():
        if first.arrays[name].tobytes() != second.arrays[name].tobytes():
            found.append(name)
    for key, value in first.progress.items():
        if second.progress[key] != value:
            found.append(f"{key}: {value}, {second.progress[key]}")
    return found


def same_run(run: Path, expected: Path, checkpoints: Sequence[str] = ("last", "best")) -> None:
    """Compares all that two runs left, but for times."""
    for name in checkpoints:
        assert differences(run / f"checkpoints/{name}.npz", expected / f"checkpoints/{name}.npz") == []
    assert rows(run) == rows(expected)
    assert events(run) == events(expected)
    assert leftovers(run) == []


def leftovers(run: Path) -> list[Any]:
    """Files that were being written."""
    return [path for path in run.rglob("*") if "partial" in path.name]
