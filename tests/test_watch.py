"""`ssd eval --watch` beside trainings that end, are killed, and are resumed."""

import copy
import csv
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest
import tensorflow as tf
from injected import killing
from small_runs import Pond, Program, differences, events
from small_runs import rows as all_rows
from ssdcli.evaluate import watch
from ssdcli.evaluate.watch import ScoreTable
from tensorboard.compat.proto.event_pb2 import Event

from ssdcore.errors import SsdError
from ssdcore.files import exclusive
from ssdcore.runs.run_folder import RunFolder, spaced
from ssdcore.training import TrainingCallback, train

QUICK = "import ssdcli.evaluate.watch as watch; watch.POLL, watch.GRACE = 0.05, {grace}\n"
ON_STEP = "ssdcli.training_progress.TrainingProgress.on_step"
Run = Callable[..., tuple[int, str, str]]


class Watcher:
    """Starts `ssd eval --watch` in processes beside those of a pond."""

    def __init__(self, pond: Pond) -> None:
        self._pond = copy.copy(pond)
        self._pond._server, self._pond._started = None, 100
        self.close = self._pond.close

    def start(self, run: Path, *more: str, code: str = "", grace: float = 0.2) -> Program:
        """What it prints goes to `run`.jsonl."""
        out = f"import os, sys; os.dup2(os.open({f'{run}.jsonl'!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)\n"
        arguments = ["eval", str(run), "--data", str(self._pond.data), "--watch", "--json", *more]
        return self._pond.child(out + QUICK.format(grace=grace) + code, *arguments)


@pytest.fixture(scope="module")
def watcher(pond: Pond) -> Iterator[Watcher]:
    with closing(Watcher(pond)) as found:
        yield found


@pytest.fixture(scope="module")
def finished(pond: Pond) -> Path:
    """An undisturbed run that has kept the checkpoints of all steps, 0 to 14."""
    train(pond.params.override(["train.keep=20"]), pond.data, pond.root / "finished", pond.plugins)
    return pond.root / "finished"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(scope="module")
def scores(pond: Pond, finished: Path) -> dict[int, float]:
    """What `ssd eval --all` says of them, by step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(pond.path)
        from ssdcli.evaluate.command import evaluate
        from ssdcli.options import Program as Context

        arguments = [str(finished), "--data", str(pond.data), "--all", "--out", str(pond.root / "all"), "--every", "1"]
        evaluate.main(arguments, standalone_mode=False, obj=Context(pond.plugins, False))
    with (pond.root / "all/steps.csv").open(newline="") as file:
        return {int(row["step"]): float(row["map"]) for row in csv.DictReader(file)}


def watched(run: Path, metric: str = "voc07") -> dict[int, float]:
    """The rows of a watcher, in the order of the file."""
    with (run / "watch/test.csv").open(newline="") as file:
        return {int(row["step"]): float(row["map"]) for row in csv.DictReader(file) if row["metric"] == metric}


def shown(run: Path) -> Counter[tuple[int, float]]:
    """A watcher's events."""
    found: Counter[tuple[int, float]] = Counter()
    for path in (run / "events/watch-test").iterdir():
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = Event.FromString(record)
            found.update((event.step, float(tf.make_ndarray(value.tensor))) for value in event.summary.value)
    return found


def whole(run: Path, scores: dict[int, float]) -> None:
    """Each checkpoint was scored, in order."""
    assert list(watched(run).items()) == list(scores.items())
    assert set(shown(run)) == {(step, float(np.float32(score))) for step, score in scores.items()}
    assert not [path for path in (run / "watch").iterdir() if "partial" in path.name]


def ended(program: Program, code: int = 0) -> None:
    assert program.wait() == code, program.lines()


def test_each_checkpoint_of_a_training_is_scored_once(
    pond: Pond, watcher: Watcher, finished: Path, scores: dict[int, float], tmp_path: Path
) -> None:
    """Training saves after every step, and keeps all checkpoints; a score takes longer than many steps."""
    run = tmp_path / "run"
    assert list(scores) == list(range(15))
    beside = watcher.start(run, grace=5)
    beside.wait_for(f"waiting for a training to begin in {run}")
    ended(pond.child("", *pond.arguments(run, "train.keep=20")))
    ended(beside)
    whole(run, scores)
    assert max(shown(run).values()) == 1
    best = max(scores, key=lambda step: (scores[step], -step))
    assert beside.lines()[-1] == (
        f"training has ended; 15 checkpoints scored on 'test', the best at step {best}: voc07 mAP {scores[best]:.4f}"
    )
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [(line["step"], line["mean_average_precision"]) for line in lines] == list(scores.items())
    so_far = [max(list(scores.values())[:count], default=-1) for count in range(15)]
    assert [line["best"] for line in lines] == [scores[step] > so_far[step] for step in scores]
    # Training has not noticed it.
    assert all_rows(run) == all_rows(finished)
    assert events(run) == events(finished)
    for name in ("last", "best"):
        assert differences(run / f"checkpoints/{name}.npz", finished / f"checkpoints/{name}.npz") == []


@pytest.mark.slow
def test_a_training_that_is_killed_is_resumed_beside_it(
    pond: Pond, watcher: Watcher, scores: dict[int, float], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    beside = watcher.start(run, grace=10)
    ended(pond.child(killing(ON_STEP, 9), *pond.arguments(run, "train.keep=20")), -signal.SIGKILL)
    ended(pond.child("", *pond.arguments(run)))
    ended(beside)
    whole(run, scores)


@pytest.mark.slow
def test_a_watcher_that_is_killed_loses_nothing(watcher: Watcher, run: Path, scores: dict[int, float]) -> None:
    """Before its first row, after the second one, and before an event."""
    writing = "ssdcli.evaluate.watch.write_atomic"
    ended(watcher.start(run, code=killing(writing, 1)), -signal.SIGKILL)
    assert not (run / "watch/test.csv").exists()
    ended(watcher.start(run, code=killing(writing, 2, "after")), -signal.SIGKILL)
    assert list(watched(run)) == [0, 1]
    ended(watcher.start(run, code=killing("tensorflow.summary.scalar", 3)), -signal.SIGKILL)
    assert list(watched(run)) == [0, 1, 2, 3]
    ended(watcher.start(run))
    whole(run, scores)


@pytest.mark.slow
def test_checkpoints_some_steps_apart(
    watcher: Watcher, run: Path, scores: dict[int, float], pond: Pond, ssd_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(watcher.start(run, "--every", "4"))
    assert watched(run) == {step: scores[step] for step in (0, 4, 8, 12)}
    assert (pond.root / "all/steps.png").stat().st_size > 1000
    monkeypatch.syspath_prepend(pond.path)
    code, out, err = ssd_here("eval", run, "--data", pond.data, "--all", "--every", 6, "--json")
    assert code == 0, err
    found = [(one["step"], one["mean_average_precision"]) for one in json.loads(out)]
    assert found == [(step, scores[step]) for step in (0, 6, 12)]


def test_steps_apart() -> None:
    assert spaced([9, 3, 4, 8, 0, 1], 4) == [0, 4, 8]
    assert spaced([0, 1, 3, 4, 8, 9], 1) == [0, 1, 3, 4, 8, 9]
    assert spaced([5, 6, 9, 14], 4, done=[5]) == [9, 14]
    assert spaced([], 4, done=[2]) == []


class Stop(TrainingCallback):
    def on_step(self, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_it_ends_with_a_training_that_does_not_come_back(pond: Pond, watcher: Watcher, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(pond.params.override(["train.keep=9"]), pond.data, run, pond.plugins, callback=Stop())
    (run / "checkpoints/step-00000002.npz").write_bytes(b"damaged")
    program = watcher.start(run, grace=0.5)
    ended(program)
    assert list(watched(run)) == [0, 1, 3, 4]
    skipped, stopped, end = (line for line in program.lines() if not line.startswith("WARNING"))
    assert skipped.startswith(f"skipped: {run}/checkpoints/step-00000002.npz is damaged")
    assert stopped == "no training is running; waiting 0.5 s in case it is resumed"
    assert end.startswith("training has ended; 4 checkpoints scored on 'test'")


@pytest.mark.slow
def test_ctrl_c_ends_the_waiting(watcher: Watcher, tmp_path: Path) -> None:
    program = watcher.start(tmp_path / "run")
    program.wait_for("waiting")
    program.send(signal.SIGINT)
    ended(program, 130)
    assert program.lines()[-1] == "interrupted"
    assert not (tmp_path / "run").exists()


def test_rows_after_a_step_that_a_run_goes_back_to_are_removed(tmp_path: Path) -> None:
    table = ScoreTable(tmp_path / "test.csv", "voc07")
    for step, value in enumerate((0.1, 0.4, None, 0.4, 0.5)):
        table.add(step, value)
    assert table.best() == (0.5, 4)
    table.remove_later(3)
    assert ScoreTable(tmp_path / "test.csv", "voc07").scores() == {0: 0.1, 1: 0.4, 2: None, 3: 0.4}
    assert table.best() == (0.4, 1)
    assert ScoreTable(tmp_path / "test.csv", "coco").scores() == {}
    assert (tmp_path / "test.csv").read_text().splitlines()[:2] == ["step,metric,map", "0,voc07,0.1"]


@pytest.mark.slow
def test_a_checkpoint_that_is_removed_before_it_is_read_is_skipped(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(watch, "POLL", 0)
    monkeypatch.setattr(watch, "GRACE", 0)
    folder, numbered = RunFolder(run), RunFolder.numbered
    monkeypatch.setattr(RunFolder, "numbered", lambda self: [*numbered(self), run / "checkpoints/step-00000099.npz"])
    table = ScoreTable(tmp_path / "test.csv", "voc07")
    for step in range(15):
        table.add(step, 0.5)
    assert list(watch._new_checkpoints(folder, table, 1)) == []
    assert capsys.readouterr().err == "no training is running; waiting 0 s in case it is resumed\n"


@pytest.mark.slow
def test_two_watchers_do_not_share_a_split(
    run: Path, pond: Pond, ssd_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "nice", lambda by: by)
    for name in ("INTRA", "INTER"):
        monkeypatch.setenv(f"TF_NUM_{name}OP_THREADS", "2")  # is restored after the test
    monkeypatch.syspath_prepend(pond.path)
    (run / "watch").mkdir()
    with exclusive(run / "watch/.test.lock", SsdError("busy")):
        code, _, err = ssd_here("eval", run, "--data", pond.data, "--watch", "--threads", 2)
    assert (code, err.count("\n")) == (1, 1)
    assert f"another process watches {run} on 'test'" in err


@pytest.mark.parametrize(
    ("more", "telling"),
    [
        (["--watch", "--all"], "--all does not go with --watch"),
        (["--watch", "--out", "x"], "--out does not go with --watch"),
        (["--every", "3"], "--every is for --all and --watch"),
    ],
)
def test_options_that_do_not_go_together(pond: Pond, run: Path, ssd_here: Run, more: list[str], telling: str) -> None:
    code, _, err = ssd_here("eval", run, "--data", pond.data, *more)
    assert code == 2
    assert telling in err


@pytest.mark.slow
def test_a_process_that_takes_too_much_memory_ends(pond: Pond, watcher: Watcher, run: Path) -> None:
    program = watcher.start(run, "--memory", "0.2")
    ended(program, 1)
    line = program.lines()[-1]
    assert line.startswith("error: the evaluation takes ")
    assert "--memory allows 0.2; give a smaller eval.batch_size" in line
    assert psutil.Process().memory_info().rss > 0.2 * 2**30


@pytest.mark.slow
def test_threads_and_priority(watcher: Watcher, run: Path) -> None:
    """What is set is there while checkpoints are scored."""
    code = """
import os, sys
import ssdcli.evaluate.watch as watch
real = watch.ScoreTable.add
def add(self, *arguments):
    print("nice", os.nice(0), os.environ["TF_NUM_INTRAOP_THREADS"], file=sys.stderr, flush=True)
    return real(self, *arguments)
watch.ScoreTable.add = add
"""
    program = watcher.start(run, "--every", "20", code=code)
    ended(program)
    assert program.lines()[0] == "nice 19 1"
