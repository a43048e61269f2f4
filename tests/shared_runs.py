"""Runs that two devices or two workers share, in real processes."""

import copy
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from small_runs import Pond, Program
from test_devices import free_ports, tf_config

from ssdcore.runs.checkpoint import load_checkpoint

PROGRAM = """
import json, os, sys
from pathlib import Path
plan = json.loads(sys.argv[1])
written = []
def note(event, arguments):
    opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if opened or event in ("os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir"):
        written.append(str(arguments[0]))
sys.addaudithook(note)
import numpy as np
from ssdcore.errors import SsdError
from ssdcore.params import ParamSet
from ssdcore.contract.plugins import load_plugins
from ssdcore.training import TrainingCallback, train
from ssdcore.training.distributed.devices import make_strategy, numbers_of_all, worker_index
strategy = make_strategy(plan["devices"])
index = worker_index(strategy)
plugins = load_plugins()

class Noted(TrainingCallback):
    def __init__(self):
        self.steps, self.warnings = 0, []
    def on_step(self, done, total):
        self.steps += 1
    def on_warning(self, warning):
        self.warnings.append(str(warning))

from ssdcore.training.dataset import TrainingDataset
healthy = TrainingDataset.batches
for one in plan["runs"]:
    TrainingDataset.batches = healthy
    exec(one["code"])
    params = ParamSet.load(Path(one["params"])).override(one["assignments"])
    callback, error = Noted(), ""
    try:
        ssd = train(params, Path(one["data"]), Path(one["out"]), plugins, resume=one["resume"], callback=callback,
                    strategy=strategy)
        for replica in range(strategy.num_replicas_in_sync if plan["devices"] else 1):
            held = [strategy.experimental_local_results(v.value)[replica].numpy() for v in ssd.network.variables]
            names = [v.path for v in ssd.network.variables]
            np.savez(f"{one['out']}-weights-{index + replica}.npz", **dict(zip(names, held)))
    except SsdError as found:
        error = str(found)
    print(json.dumps({"steps": callback.steps, "warnings": callback.warnings, "error": error}), flush=True)
print(json.dumps({"written": written, "pid": os.getpid(), "numbers": numbers_of_all(strategy, 3 + index)}))
"""


class Told(NamedTuple):
    """What a process said: of each run, and in the end."""

    runs: dict[str, Any]
    written: list[str]
    pid: int
    numbers: list[float]


class Bench:
    """Runs the same list of runs on some processes."""

    def __init__(self, pond: Pond, folder: Path, runs: Mapping[str, Any]) -> None:
        self.pond, self.folder, self.runs = pond, folder, runs

    def _plan(self, devices: str | None) -> str:
        runs = [
            {
                "params": str(one.get("params", self.pond.root / "pond.yaml")),
                "assignments": one["assignments"],
                "data": str(one.get("data", self.pond.data)),
                "out": str(self.folder / name),
                "resume": (self.folder / name).exists(),
                "code": one.get("code", ""),
            }
            for name, one in self.runs.items()
        ]
        return json.dumps({"devices": devices, "runs": runs})

    def run_on_two_workers(self) -> list[Told]:
        workers = enumerate(two_environments(self.pond))
        return self._told([self._start(None, self.pond.root / f"cwd{index}", one) for index, one in workers])

    def run_on_two_devices(self) -> None:
        self._told([self._start("cpu:2", self.pond.root, {})])

    def _start(self, devices: str | None, folder: Path, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self._plan(devices)],
            env={**self.pond.environment(), **environment},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _told(self, processes: Sequence["subprocess.Popen[str]"]) -> list[Told]:
        found = []
        outputs = [process.communicate(timeout=850) for process in processes]
        for process, (out, err) in zip(processes, outputs, strict=True):
            assert process.returncode == 0, err[-3000:]
            *of_runs, end = map(json.loads, out.splitlines())
            found.append(Told(dict(zip(self.runs, of_runs, strict=True)), end["written"], end["pid"], end["numbers"]))
        return found

    def weights(self, name: str, replica: int) -> dict[str, np.ndarray]:
        return dict(np.load(self.folder / f"{name}-weights-{replica}.npz"))


def two_environments(pond: Pond) -> list[dict[str, str]]:
    """What two workers over loopback find in TF_CONFIG, and the folders that they work in, which are empty."""
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    for index in range(2):
        (pond.root / f"cwd{index}").mkdir(exist_ok=True)
    return [{"TF_CONFIG": tf_config(cluster, "worker", index)} for index in range(2)]


class Pair:
    """Starts two workers as `Pond.child` does, again and again."""

    def __init__(self, pond: Pond) -> None:
        self._ponds = [copy.copy(pond) for _ in range(2)]
        for index, one in enumerate(self._ponds):
            one._server, one._started = None, 100 * (index + 1)  # a server of its own, which waits for its child

    def start(self, codes: Sequence[str], arguments: Sequence[str]) -> list[Program]:
        """Two workers, each with code of its own that runs first."""
        programs = []
        for index, environment in enumerate(two_environments(self._ponds[0])):
            folder = str(self._ponds[0].root / f"cwd{index}")
            code = f"import os\nos.environ.update({environment!r})\nos.chdir({folder!r})\n{codes[index]}"
            programs.append(self._ponds[index].child(code, *arguments))
        return programs

    def close(self) -> None:
        for one in self._ponds:
            one.close()


class Ending(NamedTuple):
    """How two workers ended.

    Attributes:
        codes: exit codes.
        messages: the lines that each wrote to standard error.
        seconds: from the end of the one to the end of the other.
        before: step at which they began.
        after: step of the last checkpoint.
    """

    codes: list[int]
    messages: list[list[str]]
    seconds: float
    before: int
    after: int


def last_step(run: Path) -> int:
    last = run / "checkpoints/last.npz"
    return int(load_checkpoint(last).progress["step"]) if last.exists() else 0


def end_of(program: Program) -> tuple[int, float]:
    return program.wait(), time.monotonic()


def end_in_ways(
    pond: Pond, run: Path, ways: Mapping[str, Sequence[str]], assignments: Sequence[str]
) -> dict[str, Ending]:
    """Ends a run on two workers in some ways, and goes on with it each time.

    Args:
        pond: what to train.
        run: run folder.
        ways: name -> what the two workers' programs do first.
        assignments: parameters of the run.
    """
    found, pair = {}, Pair(pond)
    for way, codes in ways.items():
        before = last_step(run)
        workers = pair.start(codes, pond.arguments(run, *(() if before else assignments)))
        with ThreadPoolExecutor(2) as pool:
            (first, first_at), (second, second_at) = pool.map(end_of, workers)
        messages = [worker.lines() for worker in workers]
        found[way] = Ending([first, second], messages, abs(first_at - second_at), before, last_step(run))
    pair.close()
    return found
