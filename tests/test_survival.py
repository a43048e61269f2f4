"""Runs that are killed, told to stop, or lose files: they go on to the same weights, rows and events, bit for bit."""

import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from injected import killing, planted
from small_runs import Pond, Program, Told, differences, events, leftovers, rows, same_run

from ssdcore.errors import CheckpointError, Terminated, TrainingError
from ssdcore.params import ParamSet
from ssdcore.runs.checkpoint import load_checkpoint
from ssdcore.runs.run_folder import RunFolder
from ssdcore.training import train
from ssdcore.training.log import MetricsLog


@pytest.fixture(scope="module")
def finished(pond: Pond) -> Path:
    """An undisturbed run."""
    train(pond.params, pond.data, pond.root / "finished", pond.plugins)
    return pond.root / "finished"


class Signal(Told):
    """Sends this process a signal behind a step; the further steps are counted."""

    def __init__(self, after: int, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.left, self.number = after, number

    def on_step(self, done: int, total: int) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)


def stop_after(pond: Pond, run: Path, steps: int, params: ParamSet | None = None) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(params or pond.params, pond.data, run, pond.plugins, callback=Signal(steps))


KILLS = [
    killing("sync", 6),  # the checkpoint of step 2 without its end
    killing("row", 1, "after"),
    killing("second name", 2),  # a checkpoint that is not yet the last one
    killing("best checkpoint", 1, "after"),
    killing("rename", 5),
    killing("step shown", 3),
    killing("later checkpoints", 1),
]
"""Where a process dies, one after the other; the last ones are so placed that steps are repeated."""


@pytest.mark.slow
def test_killed_ten_times_it_ends_the_same(pond: Pond, finished: Path) -> None:
    """Seven kills at chosen places, three from outside at any time; each time the program is started again."""
    run, rng = pond.root / "killed", np.random.default_rng()
    for code in KILLS:
        was_killed(pond.child(code, *pond.arguments(run)))
    for _ in range(3):
        program = pond.program(*pond.arguments(run))
        program.wait_for("stage ")
        time.sleep(rng.uniform(0, 1.5))
        program.send(signal.SIGKILL)
        was_killed(program)
        if load_checkpoint(run / "checkpoints/last.npz").progress["step"] == 14:
            break
    ended(pond.program(*pond.arguments(run)))
    same_run(run, finished)


def was_killed(program: Program) -> None:
    assert program.wait() == -signal.SIGKILL, program.lines()


def ended(program: Program) -> None:
    assert program.wait() == 0, program.lines()


@pytest.mark.slow
def test_a_deterministic_run_ends_the_same(pond: Pond) -> None:
    setting = "train.deterministic=true"
    whole, run = pond.root / "whole", pond.root / "deterministic"
    ended(pond.child("", *pond.arguments(whole, setting)))
    for code in (killing("sync", 6), killing("evaluation", 1, "after")):
        was_killed(pond.child(code, *pond.arguments(run, setting)))
    ended(pond.child("", *pond.arguments(run)))
    same_run(run, whole)


@pytest.mark.slow
def test_killed_before_its_first_checkpoint_it_begins_again(pond: Pond, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    was_killed(pond.child(killing("sync", 3), *pond.arguments(run)))
    assert len(leftovers(run)) == 1
    with pytest.raises(CheckpointError, match=r"no checkpoint .*last\.npz"):
        train(pond.params, pond.data, run, pond.plugins, resume=True)
    train(pond.params, pond.data, run, pond.plugins)
    same_run(run, finished)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["truncated", "flipped", "empty", "missing"])
def test_a_lost_last_checkpoint_is_replaced_by_the_one_before(
    name: str, pond: Pond, finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    stop_after(pond, run, 9)
    spoil(run / "checkpoints/last.npz", name)
    (run / "checkpoints/step-00000011.npz").write_bytes(b"of a later step, and damaged")
    (run / "checkpoints/.last.npz.1234.partial").write_bytes(b"half")
    callback = Told()
    train(pond.params, pond.data, run, pond.plugins, resume=True, callback=callback)
    wrong = "there is no checkpoint" if name == "missing" else "is damaged"
    step, kept = (9, "step-00000009.npz") if name == "missing" else (8, "step-00000008.npz")
    warning = next(message for message in callback.warnings if "last.npz" in message)
    assert wrong in warning
    assert f"continuing from step {step}, {kept}" in warning
    same_run(run, finished)


def spoil(path: Path, how: str) -> None:
    """Damages a file in place, and so its other name, too."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if how == "missing":
        path.unlink()
        return
    content[middle] ^= 0x10
    path.write_bytes({"truncated": content[:middle], "flipped": content, "empty": b""}[how])


@pytest.mark.slow
def test_checkpoints_of_later_steps_are_forgotten(pond: Pond, finished: Path, tmp_path: Path) -> None:
    """A last checkpoint that was brought back from elsewhere counts, whatever else is there."""
    run = tmp_path / "run"
    stop_after(pond, run, 5)
    content = (run / "checkpoints/last.npz").read_bytes()
    train(pond.params, pond.data, run, pond.plugins, resume=True)
    (run / "checkpoints/last.npz").unlink()
    (run / "checkpoints/last.npz").write_bytes(content)
    stop_after_resume(pond, run, 1)
    assert [path.name for path in RunFolder(run).numbered()] == ["step-00000006.npz"]
    assert {step for step, _, _ in events(run)} == {3, 4, 6}
    train(pond.params, pond.data, run, pond.plugins, resume=True)
    same_run(run, finished)


def stop_after_resume(pond: Pond, run: Path, steps: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(pond.params, pond.data, run, pond.plugins, resume=True, callback=Signal(steps))


@pytest.mark.slow
def test_without_any_whole_checkpoint_there_is_one_error(pond: Pond, finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    for path in (run / "checkpoints").iterdir():
        spoil(path, "truncated")
    program = pond.program(*pond.arguments(run))
    assert program.wait() == 1
    (line,) = program.lines()
    assert line.startswith(f"error: {run}/checkpoints/last.npz is damaged")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_program_behind_a_step(
    number: int, code: int, pond: Pond, finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    program = pond.program(*pond.arguments(run))
    program.wait_for("step 3")
    begin = time.monotonic()
    program.send(number)
    assert program.wait() == code, program.lines()
    assert time.monotonic() - begin < 10
    assert program.lines()[-1] == {130: "interrupted", 143: "terminated"}[code]
    assert leftovers(run) == []
    train(pond.params, pond.data, run, pond.plugins, resume=True)
    same_run(run, finished)


def test_a_signal_in_an_evaluation_repeats_it(
    pond: Pond, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while step 4 is evaluated: what is kept is step 4 before its evaluation."""

    from ssdcore.training.scoring import Scorer

    real = Scorer.score

    def interrupted(self: Any, variables: Any, on_batch: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return real(self, variables, on_batch)

    monkeypatch.setattr(Scorer, "score", interrupted)
    with pytest.raises(Terminated):
        train(pond.params, pond.data, tmp_path / "run", pond.plugins)
    progress = load_checkpoint(tmp_path / "run/checkpoints/last.npz").progress
    assert (progress["step"], progress["evaluation_due"], progress["rows"]) == (4, True, 1)
    monkeypatch.undo()
    train(pond.params, pond.data, tmp_path / "run", pond.plugins, resume=True)
    same_run(tmp_path / "run", finished)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_step_that_takes_too_long_is_not_waited_for(number: int, code: int, pond: Pond, tmp_path: Path) -> None:
    run = tmp_path / "run"
    program = pond.child(planted("slow_steps", patience=0.5, deaf=True), *pond.arguments(run))
    program.wait_for("slow")
    begin = time.monotonic()
    program.send(number)
    assert program.wait() == code
    assert 0.4 < time.monotonic() - begin < 8
    assert "a step took over 0.5 s: exiting without saving" in program.lines()
    assert load_checkpoint(run / "checkpoints/last.npz").progress["step"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_second_signal_ends_it_at_once(number: int, code: int, pond: Pond, tmp_path: Path) -> None:
    program = pond.child(planted("slow_steps", patience=25, deaf=False), *pond.arguments(tmp_path / "run"))
    program.wait_for("slow")
    program.send(number)
    time.sleep(0.5)
    begin = time.monotonic()
    program.send(number)  # it is still there
    assert program.wait() == code
    assert time.monotonic() - begin < 8
    assert load_checkpoint(tmp_path / "run/checkpoints/last.npz").progress["step"] == 0


def test_a_signal_while_a_stage_ends_begins_no_other(
    pond: Pond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Told):
        def on_evaluation(self, step: int, evaluation: Any, is_best: bool) -> None:
            if step == 6:
                signal.raise_signal(signal.SIGINT)

        def on_stage(self, name: str, done: int, total: int) -> None:
            assert name == "first"

    with pytest.raises(KeyboardInterrupt):
        train(pond.params, pond.data, tmp_path / "run", pond.plugins, callback=Late())
    assert load_checkpoint(tmp_path / "run/checkpoints/last.npz").progress["step"] == 6


def test_handlers_are_given_back(pond: Pond, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stop_after(pond, tmp_path / "run", 1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.slow
def test_a_run_in_another_thread(pond: Pond, finished: Path, tmp_path: Path) -> None:
    thread = threading.Thread(target=train, args=(pond.params, pond.data, tmp_path / "run", pond.plugins))
    thread.start()
    thread.join()
    same_run(tmp_path / "run", finished)


def snapshot(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_finished_run_that_is_resumed_stays_as_it_is(pond: Pond, finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    train(pond.params, pond.data, run, pond.plugins, resume=True)
    assert snapshot(run) == snapshot(finished)


@pytest.mark.slow
def test_a_finished_run_goes_on_if_it_is_given_more_steps(pond: Pond, finished: Path, tmp_path: Path) -> None:
    """The rate is fixed, so that this equals a run that had those steps from the start, but for the evaluation."""
    longer = pond.params.override(["train.stages.1.steps=11", "train.log_every=2"])
    train(longer, pond.data, tmp_path / "longer", pond.plugins)
    run = shutil.copytree(finished, tmp_path / "run")
    train(longer, pond.data, run, pond.plugins, resume=True)
    assert ParamSet.load(run / "params.yaml").train.stages[1].steps == 11
    found = differences(run / "checkpoints/last.npz", tmp_path / "longer/checkpoints/last.npz")
    assert [name for name in found if name.startswith(("model/", "averages/", "training/"))] == []
    assert rows(run)[:9] == rows(finished)
    assert [row["step"] for row in rows(run)[9:]] == ["16", "17", "17"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["train.stages.0.steps=7"], r"train\.stages\.0\.steps was 6, now 7"),
        (
            ["train.seed=3", "model.variances.0=0.2"],
            r"model\.variances was \[0\.1, .*, now \[0\.2, .*; train\.seed was 0, now 3",
        ),
        (["model.default_boxes.clip=true"], r"model\.default_boxes\.clip was False, now True"),
        (["backbone=bare"], r"backbone was 'pond', now 'bare'"),
    ],
)
def test_what_may_not_change_is_named(
    overrides: list[str], says: str, pond: Pond, finished: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    with pytest.raises(TrainingError, match=says):
        train(pond.params.override(overrides), pond.data, run, pond.plugins, resume=True)
    assert snapshot(run) == snapshot(finished)


def test_other_images_of_the_same_number_are_refused(pond: Pond, finished: Path, tmp_path: Path) -> None:
    other = shutil.copytree(pond.root / "voc", tmp_path / "voc")
    xml = next(iter(sorted((other / "Annotations").iterdir())))
    (other / f"JPEGImages/{xml.stem}.jpg").write_bytes((other / "JPEGImages/00003.jpg").read_bytes())

    from ssdcore.data.convert import convert
    from ssdcore.data.formats import read_labelled

    convert(read_labelled(other), tmp_path / "records")
    with pytest.raises(TrainingError, match="was made from other images or annotations"):
        train(pond.params, tmp_path / "records", finished, pond.plugins, resume=True)


def test_a_folder_with_anything_else_is_left_alone(pond: Pond, tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match="is in use"):
        train(pond.params, pond.data, tmp_path / "run", pond.plugins)
    assert {path.name for path in (tmp_path / "run").rglob("*")} == {"checkpoints", "notes.txt"}


def test_rows_that_a_crash_cut_off_are_made_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    log = MetricsLog(run, 0, 0)
    for step in (2, 4, 6):
        log.write({"step": step, "loss": step / 10})
    log.close()
    with run.metrics.open("a") as file:
        file.write("8,0.5,sec")  # no end of line
    written = {path: path.read_bytes() for path in run.events.iterdir()}
    again = MetricsLog(run, 2, 4)
    again.write({"step": 6, "loss": 0.7})
    again.close()
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [("2", "0.2"), ("4", "0.4"), ("6", "0.7")]
    assert {(step, name): round(value, 6) for step, name, value in events(tmp_path)} == {
        (2, "loss"): 0.2,
        (4, "loss"): 0.4,
        (6, "loss"): 0.7,
    }
    assert {path: path.read_bytes() for path in written} == written  # TensorBoard itself discards what was undone
    with pytest.raises(TrainingError, match="has 3 rows, the checkpoint was saved after 4"):
        MetricsLog(run, 4, 8)
