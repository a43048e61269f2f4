"""Faults in the midst of a run: losses that are no numbers, and images that cannot be read."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from injected import burst_gradients, planted, poison, retry, wrap_steps
from small_runs import BARE, Pond, Told, no_event_twice, rows, same_run, spoil_image

from ssdcore.data.order import records_at
from ssdcore.data.records.index import RecordIndex
from ssdcore.errors import DataError, TrainingError
from ssdcore.runs.checkpoint import load_checkpoint
from ssdcore.training import TrainingCallback, train


def names_of(pond: Pond, stage: int, step: int) -> list[str]:
    """The images of a stage's step, from 0."""
    index = RecordIndex.of_split(pond.data, "trainval")
    return [index.name(number) for number in records_at(8, (0, stage), np.arange(2 * step, 2 * step + 2))]


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


FIRST, SECOND = "0.01", "0.001"
HALF = {FIRST: "0.005", SECOND: "0.0005"}


@pytest.mark.parametrize(
    ("step", "back", "assignments", "rates"),
    [
        slow(1, 0, [], [HALF[FIRST]] * 2 + [HALF[SECOND]] * 3),
        slow(4, 3, [], [FIRST, HALF[FIRST]] + [HALF[SECOND]] * 3),
        (6, 5, [], [FIRST, "mixed"] + [HALF[SECOND]] * 3),
        slow(7, 6, [], [FIRST] * 2 + [HALF[SECOND]] * 3),
        (13, 6, BARE, [FIRST] * 2 + [HALF[SECOND]] * 3),
        slow(2, 0, BARE, [HALF[FIRST]] * 2 + [HALF[SECOND]] * 3),
    ],
    ids=["first step", "evaluation due", "end of stage", "first of a stage", "rows undone", "first window"],
)
def test_a_loss_that_is_no_number_once_takes_the_run_back(
    step: int, back: int, assignments: list[str], rates: list[str], pond: Pond, tmp_path: Path, monkeypatch: Any
) -> None:
    """Rates are halved from there on; a row whose steps had both rates has a mean of both."""
    poison(step, patch=monkeypatch.setattr)
    told = Told()
    train(pond.params.override(assignments), pond.data, tmp_path / "run", pond.plugins, callback=told)
    (story,) = told.about("not finite")
    stage, in_stage = (0, step - 1) if step <= 6 else (1, step - 7)
    assert f"not finite at step {step}, on the images {', '.join(names_of(pond, stage, in_stage))};" in story
    assert f"restarted from step {back} with 0.5 of the original learning rates (restart 1 of 3)" in story
    found = [row for row in rows(tmp_path / "run") if row["loss"]]
    assert [row["step"] for row in found] == ["3", "6", "9", "12", "14"]
    for row, rate in zip(found, rates, strict=True):
        assert np.isfinite(float(row["loss"]))
        # Steps 4 and 5 had the whole rate, step 6 the half.
        assert float(row["learning_rate"]) == pytest.approx(
            (0.01 + 0.01 + 0.005) / 3 if rate == "mixed" else float(rate)
        )
    assert no_event_twice(tmp_path / "run")
    last = load_checkpoint(tmp_path / "run/checkpoints/last.npz")
    assert all(np.isfinite(value).all() for value in last.arrays.values())
    assert (last.progress["retries"], last.progress["rate_scale"], last.progress["step"]) == (1, 0.5, 14)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each step of a run changed: whether it was not finite, and the variables before and after it."""
    seen: list[dict[str, Any]] = []

    def watched(step: Callable[..., Any], ssd: Any, update: Any) -> Callable[..., Any]:
        variables = [*update.variables, *update.state[1:]]  # the first counts steps

        def watch(batch: Any, requests: Any) -> Any:
            before = [variable.numpy() for variable in variables]
            metrics = step(batch, requests)
            seen.append({"non_finite": float(metrics[-4]), "before": before, "after": [v.numpy() for v in variables]})
            return metrics

        return watch

    wrap_steps(watched, monkeypatch.setattr)
    return seen


def changes(step: dict[str, Any]) -> int:
    pairs = zip(step["before"], step["after"], strict=True)
    return sum(not np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("value", ["nan", slow("inf")])
def test_a_step_without_numbers_changes_no_weight(
    value: str, pond: Pond, tmp_path: Path, steps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(8, factor=value, patch=monkeypatch.setattr)
    train(pond.params.override(BARE), pond.data, tmp_path / "run", pond.plugins)
    assert [index + 1 for index, step in enumerate(steps) if step["non_finite"]] == [8]
    assert changes(steps[7]) == 0
    assert min(changes(step) for index, step in enumerate(steps) if index != 7) > 10
    assert len(steps) == 9 + 8  # the fault was found in the row of step 9


def test_a_gradient_that_is_no_number_is_a_fault_too(
    pond: Pond, tmp_path: Path, steps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is finite; the images of one step are marked by a negative corner."""
    burst_gradients(monkeypatch.setattr)
    poison(2, factor="-1", patch=monkeypatch.setattr)
    told = Told()
    train(pond.params.override(BARE), pond.data, tmp_path / "run", pond.plugins, callback=told)
    assert "not finite at step 2" in told.about("not finite")[0]
    assert [changes(step) > 0 for step in steps[:3]] == [True, False, True]


@pytest.mark.slow
def test_faults_that_do_not_end_end_the_run(pond: Pond, tmp_path: Path) -> None:
    """Exit code 1, one line with the story; what is left is good, and goes on once the cause is mended."""
    run = tmp_path / "run"
    program = pond.child(planted("poison", step=8, times=-1), *pond.arguments(run))
    assert program.wait() == 1
    *_, line = program.lines()
    assert line.startswith("error: loss or gradient was not finite at step 8, on the images ")
    assert "3 restarts, the last at 0.125 of the learning rate, did not help; check the images" in line
    assert line.endswith(f"the last good weights are in {run}/checkpoints/last.npz; 'ssd data show' draws the images")
    assert not [line for line in program.lines() if "Traceback" in line]
    told = [line for line in program.lines() if "restarted from step 7" in line]
    assert [line.rpartition("(")[2] for line in told] == ["restart 1 of 3)", "restart 2 of 3)", "restart 3 of 3)"]
    last = load_checkpoint(run / "checkpoints/last.npz")
    assert last.progress["step"] == 7
    assert all(np.isfinite(value).all() for value in last.arrays.values())
    train(pond.params, pond.data, run, pond.plugins, resume=True)
    assert [row["step"] for row in rows(run) if row["loss"]] == ["3", "6", "9", "12", "14"]


@pytest.mark.parametrize(("second", "ends"), [slow(8, True), (5, False)])
def test_good_steps_between_faults_let_retries_begin_anew(
    second: int, ends: bool, pond: Pond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One retry is allowed, and again behind four good steps; rates stay as low as they are."""
    retry(1, healthy_steps=4, patch=monkeypatch.setattr)
    poison(2, patch=monkeypatch.setattr)
    poison(second, patch=monkeypatch.setattr)
    if not ends:
        with pytest.raises(TrainingError, match=r"not finite at step 5, .* 1 restarts"):
            train(pond.params, pond.data, tmp_path / "run", pond.plugins)
        return
    train(pond.params, pond.data, tmp_path / "run", pond.plugins)
    progress = load_checkpoint(tmp_path / "run/checkpoints/last.npz").progress
    assert [progress[name] for name in ("retries", "rate_scale", "non_finite_step")] == [0, 0.25, 8]


@pytest.mark.slow
def test_a_fault_on_one_of_two_devices_takes_both_back(pond: Pond, tmp_path: Path) -> None:
    run = tmp_path / "run"
    program = pond.child(planted("poison", step=8, where="second device"), *pond.arguments(run, "--devices", "cpu:2"))
    assert program.wait() == 0, program.lines()
    (story,) = [line for line in program.lines() if "not finite" in line]
    assert f"at step 8, on the images {', '.join(names_of(pond, 1, 1))}; restarted from step 7" in story
    last = load_checkpoint(run / "checkpoints/last.npz")
    assert all(np.isfinite(value).all() for value in last.arrays.values())
    assert [row["step"] for row in rows(run) if row["loss"]] == ["3", "6", "9", "12", "14"]


@pytest.fixture
def spoilt(pond: Pond, tmp_path: Path) -> Path:
    """The records with two images that cannot be decoded; all files are as large as before."""
    folder = shutil.copytree(pond.data, tmp_path / "spoilt")
    for name in (names_of(pond, 0, 1)[0], names_of(pond, 0, 2)[1]):
        spoil_image(folder, name)
    return folder


@pytest.mark.slow
def test_undecodable_images_are_left_out(pond: Pond, spoilt: Path, tmp_path: Path) -> None:
    told = Told()
    train(pond.params, spoilt, tmp_path / "run", pond.plugins, callback=told)
    first, second = told.about("left out")
    assert first.startswith(f"left out, cannot be decoded (1 of at most 10): {names_of(pond, 0, 1)[0]}: ")
    assert second.startswith(f"left out, cannot be decoded (2 of at most 10): {names_of(pond, 0, 2)[1]}: ")
    assert load_checkpoint(tmp_path / "run/checkpoints/last.npz").progress["undecodable"] == 2
    assert [row["step"] for row in rows(tmp_path / "run") if row["loss"]] == ["3", "6", "9", "12", "14"]

    class Stop(TrainingCallback):
        def on_step(self, done: int, total: int) -> None:
            if done == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pond.params, spoilt, tmp_path / "other", pond.plugins, callback=Stop())
    train(pond.params, spoilt, tmp_path / "other", pond.plugins, resume=True)
    same_run(tmp_path / "other", tmp_path / "run")


@pytest.mark.slow
def test_what_was_left_out_is_still_so_when_a_run_goes_on(pond: Pond, spoilt: Path, tmp_path: Path) -> None:
    class Stop(Told):
        def __init__(self, at: int) -> None:
            super().__init__()
            self.at = at

        def on_step(self, done: int, total: int) -> None:
            if done == self.at:
                raise KeyboardInterrupt

    expected = sorted(int(records_at(8, (0, 0), np.array([place]))[0]) for place in (2, 5))
    for at, warnings in ((4, 2), (6, 0)):
        told = Stop(at)
        with pytest.raises(KeyboardInterrupt):
            train(pond.params, spoilt, tmp_path / "run", pond.plugins, resume=at > 4, callback=told)
        assert len(told.about("left out")) == warnings
        progress = load_checkpoint(tmp_path / "run/checkpoints/last.npz").progress
        assert (progress["step"], progress["undecodable"], progress["left_out"]) == (at - 1, 2, expected)
    told = Told()
    train(pond.params, spoilt, tmp_path / "run", pond.plugins, resume=True, callback=told)
    assert told.about("left out") == []


@pytest.mark.slow
def test_undecodable_images_on_two_devices(pond: Pond, spoilt: Path, tmp_path: Path) -> None:
    pond.data, whole = spoilt, pond.data
    try:
        program = pond.child("", *pond.arguments(tmp_path / "run", "--devices", "cpu:2"))
        assert program.wait() == 0, program.lines()
    finally:
        pond.data = whole
    assert len([line for line in program.lines() if "warning: left out, cannot be decoded" in line]) == 2


def test_too_many_undecodable_images_are_an_error(pond: Pond, spoilt: Path, tmp_path: Path) -> None:
    params = pond.params.override(["data.max_undecodable=1"])
    with pytest.raises(DataError, match=rf"2 images of {spoilt} cannot be decoded, data.max_undecodable is 1"):
        train(params, spoilt, tmp_path / "run", pond.plugins)
