"""`ssd eval --watch` beside trainings that end, are killed, and go on; and the lock of a run folder."""

import copy
import csv
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from injected import killing
from small_runs import Pond, Program, differences, events
from small_runs import rows as all_rows
from ssdcli.evaluate import limits
from tensorboard.compat.proto.event_pb2 import Event

from ssdcore.evaluation import Evaluation
from ssdcore.runs.checkpoint import load_checkpoint
from ssdcore.runs.run_folder import RunFolder, spaced
from ssdcore.training import TrainingCallback, train, watch
from ssdcore.training.checkpointing.manager import forget_later, keep
from ssdcore.training.lock import held
from ssdcore.training.metrics import cut_back

NAME = "(watch test voc07)"
QUICK = "import ssdcore.training.watch as watch; watch.PAUSE, watch.GRACE = 0.05, {grace}\n"
PATIENT = """
import time
import ssdcore.training.checkpointing.manager as keeping
watched_folders = keeping.watched_folders
def patient(run):
    while not any(keeping.is_held(folder / keeping.WATCH_LOCK) for folder in watched_folders(run)):
        time.sleep(0.02)
    return watched_folders(run)
keeping.watched_folders = patient
"""
"""Code that lets a training, whose steps take milliseconds, wait for its watcher behind the first checkpoint."""
Run = Callable[..., tuple[int, str, str]]


class Watcher:
    """Starts `ssd eval --watch` in processes beside those of a pond."""

    def __init__(self, pond: Pond) -> None:
        self._pond = copy.copy(pond)
        self._pond._server, self._pond._started = None, 100
        self.close = self._pond.close

    def start(self, run: Path, *more: str, code: str = "", grace: float = 600) -> Program:
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


def watched(run: Path) -> list[tuple[int, str, float]]:
    """Step, stage and mAP of a watcher's rows, in the order of the file."""
    return [(int(row["step"]), row["stage"], float(row["map"])) for row in all_rows(run) if row["stage"].endswith(NAME)]


def own(run: Path) -> list[dict[str, str]]:
    return [row for row in all_rows(run) if not row["stage"].endswith(")")]


def shown(run: Path) -> Counter[tuple[int, float]]:
    """A watcher's events."""
    found: Counter[tuple[int, float]] = Counter()
    for path in (run / "events/watch-test-voc07").iterdir():
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = Event.FromString(record)
            found.update((event.step, float(tf.make_ndarray(value.tensor))) for value in event.summary.value)
    return found


def expected(scores: dict[int, float]) -> list[tuple[int, str, float]]:
    """Six steps of the first stage, eight of the second."""
    return [(step, f"{'first' if step <= 6 else 'second'} {NAME}", score) for step, score in scores.items()]


def whole(run: Path, scores: dict[int, float]) -> None:
    """Each checkpoint was scored once, in order, and nothing else is left."""
    assert watched(run) == expected(scores)
    assert shown(run) == Counter((step, float(np.float32(score))) for step, score in scores.items())
    assert not (run / "watch").exists()
    assert not [path.name for path in run.iterdir() if path.name.endswith("lock")]


def ended(program: Program, code: int = 0) -> None:
    assert program.wait() == code, program.lines()


def test_each_checkpoint_of_a_training_is_scored_once(
    pond: Pond, watcher: Watcher, finished: Path, scores: dict[int, float], tmp_path: Path
) -> None:
    """Training saves after every step and keeps two checkpoints; a score takes longer than many steps."""
    run = tmp_path / "run"
    assert list(scores) == list(range(15))
    beside = watcher.start(run)
    beside.wait_for(f"waiting for a training to begin in {run}")
    training = pond.child(PATIENT, *pond.arguments(run, "train.keep=2"))
    ended(training)
    assert len(RunFolder(run).numbered()) == 2
    ended(beside)
    whole(run, scores)
    best = max(scores, key=lambda step: (scores[step], -step))
    assert beside.lines()[-1] == (
        f"training is over; 15 checkpoints scored on 'test', the best at step {best}: voc07 mAP {scores[best]:.4f}"
    )
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [(line["step"], line["mean_average_precision"]) for line in lines] == list(scores.items())
    so_far = [max(list(scores.values())[:count], default=-1) for count in range(15)]
    assert [line["best"] for line in lines] == [scores[step] > so_far[step] for step in scores]
    # Training has not felt it.
    assert own(run) == all_rows(finished)
    assert events(run) == events(finished)
    for name in ("last", "best"):
        assert differences(run / f"checkpoints/{name}.npz", finished / f"checkpoints/{name}.npz") == []


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_beside_it(
    pond: Pond, watcher: Watcher, finished: Path, scores: dict[int, float], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    beside = watcher.start(run)
    for code in (killing("step shown", 9), killing("rows cut back", 1)):
        ended(pond.child(PATIENT + code, *pond.arguments(run)), -signal.SIGKILL)
    ended(pond.child(PATIENT, *pond.arguments(run)))
    ended(beside)
    whole(run, scores)
    assert own(run) == all_rows(finished)
    assert events(run) == events(finished)
    assert differences(run / "checkpoints/last.npz", finished / "checkpoints/last.npz") == []


@pytest.mark.slow
def test_a_watcher_that_is_killed_loses_nothing(
    watcher: Watcher, run: Path, scores: dict[int, float], tmp_path: Path
) -> None:
    """Before its first row, behind the second one, and before an event; then only two checkpoints are left to find."""
    adding = "ssdcore.training.watch.add_watched"
    ended(watcher.start(run, code=killing(adding, 1)), -signal.SIGKILL)
    assert len(list((run / "watch/test-voc07").glob("step-*.npz"))) == 15
    for path in RunFolder(run).numbered()[2:]:
        path.unlink()
    ended(watcher.start(run, code=killing(adding, 2, "after")), -signal.SIGKILL)
    assert [step for step, _, _ in watched(run)] == [0, 1]
    ended(watcher.start(run, code=killing("tensorflow.summary.scalar", 3)), -signal.SIGKILL)
    ended(watcher.start(run))
    whole(run, scores)


@pytest.mark.slow
def test_checkpoints_some_steps_apart(
    watcher: Watcher, run: Path, scores: dict[int, float], pond: Pond, ssd_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(watcher.start(run, "--every", "4"))
    assert watched(run) == [row for row in expected(scores) if row[0] in (0, 4, 8, 12)]
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
    assert [step for step, _, _ in watched(run)] == [0, 1, 3, 4]
    stopped, left_out, end = program.lines()
    assert stopped == "training has stopped before its end; waiting 0.5 s for it to go on"
    assert left_out.startswith(f"left out: {run}/watch/test-voc07/step-00000002.npz is damaged")
    assert end.startswith("training has ended before its end; 4 checkpoints scored on 'test'")


@pytest.mark.slow
def test_ctrl_c_ends_the_waiting(watcher: Watcher, tmp_path: Path) -> None:
    program = watcher.start(tmp_path / "run")
    program.wait_for("waiting")
    program.send(signal.SIGINT)
    ended(program, 130)
    assert program.lines()[-1] == "interrupted"
    assert not (tmp_path / "run").exists()


def score(value: float) -> Evaluation:
    return Evaluation("voc07", value, {}, 0.5, 0.01, 4, 4, 0)


def test_scores_behind_a_step_that_a_run_goes_back_to_do_not_count(run: Path) -> None:
    """Step 3 is being scored when the run goes back to step 2: it will be made, and scored, again."""
    folder = RunFolder(run)
    with watch.watching(folder, "test", "voc07", 1, print) as found:
        for checkpoint in found.checkpoints():
            if checkpoint.progress["step"] == 3:
                forget_later(folder, 2)
                assert not found.add(checkpoint, score(0.3))
                break
            assert found.add(checkpoint, score(checkpoint.progress["step"] / 10))
        assert list((run / "watch/test-voc07").glob("step-*")) == []
        assert found.best() == (0.2, 2)
        # The run goes back once more.
        forget_later(folder, 1)
        assert cut_back(folder, 0, 1) == 9
        assert [(step, value) for step, _, value in watched(run)] == [(0, 0.0), (1, 0.1)]
    with watch.watching(folder, "test", "voc07", 1, print):
        assert {step for step, _ in shown(run)} == {0, 1}


def test_only_a_living_watcher_is_given_checkpoints(run: Path, pond: Pond) -> None:
    from ssdcore.runs.checkpoint import restore_model
    from ssdcore.training.progress import Progress

    folder = RunFolder(run)
    checkpoint = load_checkpoint(folder.last)
    ssd = restore_model(checkpoint, pond.plugins)
    mine = run / "watch/test-voc07"
    mine.mkdir(parents=True)
    for step, alive in ((15, False), (16, True)):
        with held(mine / ".lock") if alive else nullcontext():
            keep(folder, ssd, Progress(**{**checkpoint.progress, "step": step}), {}, {})
    assert [path.name for path in mine.iterdir()] == ["step-00000016.npz"]
    assert mine.joinpath("step-00000016.npz").samefile(folder.at_step(16))


def test_two_watchers_do_not_share_a_split(
    run: Path, pond: Pond, ssd_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "nice", lambda by: by)
    for name in ("INTRA", "INTER"):
        monkeypatch.setenv(f"TF_NUM_{name}OP_THREADS", "2")  # is put back behind the test
    monkeypatch.syspath_prepend(pond.path)
    arguments = ("eval", run, "--data", pond.data, "--watch", "--threads", 2)
    with watch.watching(RunFolder(run), "test", "voc07", 1, print):
        code, _, err = ssd_here(*arguments)
        assert (code, err.count("\n")) == (1, 1)
        assert f"another process watches {run} already, on 'test' by voc07" in err
        assert ssd_here(*arguments, "--metric", "coco", "--every", 14)[0] == 0
    assert [row["step"] for row in all_rows(run) if row["stage"].endswith("(watch test coco)")] == ["0", "14"]


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
    (line,) = program.lines()
    assert line.startswith("error: the evaluation takes ")
    assert "--memory allows 0.2; give a smaller eval.batch_size" in line
    assert limits.resident() > 0.2


@pytest.mark.slow
def test_threads_and_priority(watcher: Watcher, run: Path) -> None:
    """What is set is there while checkpoints are scored."""
    code = """
import os, sys
import ssdcore.training.watch as watch
real = watch.Watch.add
def add(self, *arguments):
    print("nice", os.nice(0), os.environ["TF_NUM_INTRAOP_THREADS"], file=sys.stderr, flush=True)
    return real(self, *arguments)
watch.Watch.add = add
"""
    program = watcher.start(run, "--every", "20", code=code)
    ended(program)
    assert program.lines()[0] == "nice 19 1"
