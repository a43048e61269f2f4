"""A long run needs no more memory at its end than at its beginning, and compiles each stage's step once."""

import gc
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from small_runs import BARE, Pond
from ssd_program import environment_with

from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.synth import synthesize
from ssdcore.training import train

EVERY = 10
"""Steps between two samples."""

# 8 images in batches of 2: 4 steps to the epoch, so that 100 epochs between evaluations are 400 steps.
SMALL = [
    "model.image_size=[64,64]",
    "model.feature_maps=null",
    "model.blocks=[]",
    "model.feature_layers=[Conv2d_11_pointwise,Conv2d_13_pointwise]",
    "model.default_boxes={min_sizes: [12, 30], max_sizes: [30, 50], aspect_ratios: [[2], [2]]}",
    "eval.batch_size=4",
    "train.eval_every=100",
    "train.save_minutes=0.1",
    "train.ema_decay=0.9",
    "train.stages=[{name: first, steps: 50, batch_size: 2}, {name: long, steps: 2000, batch_size: 2}]",
]

RUN = f"""
import json, sys
from pathlib import Path
import psutil
from ssdcore.contract.plugins import load_plugins
from injected import wrap_steps
from ssdcore.training import TrainingCallback, train

steps = []
wrap_steps(lambda step, *_: steps.append(step) or step)


class Watch(TrainingCallback):
    def __init__(self):
        self.stage, self.memory, self.evaluations = "", [], []

    def on_stage(self, name, done, total):
        self.stage = name

    def on_step(self, done, total):
        if self.stage == "long" and done % {EVERY} == 0:
            self.memory.append(psutil.Process().memory_info().rss / 2**20)

    def on_evaluation(self, step, evaluation, is_best):
        self.evaluations.append(step)


data, out, *overrides = sys.argv[1:]
plugins, watch = load_plugins(), Watch()
params = plugins.param_sets["mobilenet025-ssd300"].override(overrides)
train(params, Path(data), Path(out), plugins, callback=watch)
traces = [step.experimental_get_tracing_count() for step in steps]
print(json.dumps({{"memory": watch.memory, "evaluations": watch.evaluations, "traces": traces}}))
"""


def step_graphs() -> int:
    gc.collect()
    return sum(type(one).__name__ == "FuncGraph" and one.name == "step" for one in gc.get_objects())


def test_a_run_leaves_no_graph_behind(pond: Pond, tmp_path: Path) -> None:
    """A process that trains again and again; the graph of MobileNet's step takes 80 MB."""
    before = step_graphs()
    train(
        pond.params.override([*BARE, "train.stages.0.steps=1", "train.stages.1.steps=1"]),
        pond.data,
        tmp_path / "run",
        pond.plugins,
    )
    assert step_graphs() == before


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen of a run in a process of its own: MiB every `EVERY` steps of its long stage, and more."""
    root = tmp_path_factory.mktemp("memory")
    synthesize(root / "voc", 8, 4, seed=1)
    convert(read_labelled(root / "voc"), root / "records")
    command = [sys.executable, "-c", RUN, str(root / "records"), str(root / "run"), *SMALL]
    environment = environment_with(Path(__file__).parent)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_memory_does_not_grow(long_run: dict[str, Any]) -> None:
    """Steps 501 to 900 against 1,601 to 2,000: in both there is an evaluation."""
    assert len(long_run["memory"]) == 2000 // EVERY
    assert len(long_run["evaluations"]) == 6  # one behind the first stage
    early, late = (median(long_run["memory"][begin // EVERY : (begin + 400) // EVERY]) for begin in (500, 1600))
    assert late < 1.02 * early, f"{early:.1f} MiB became {late:.1f} MiB"


@pytest.mark.slow
def test_each_stage_is_compiled_once(long_run: dict[str, Any]) -> None:
    assert long_run["traces"] == [1, 1]
