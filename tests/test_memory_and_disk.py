"""No memory or a full disk in the midst of a run."""

import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from injected import wrap_steps
from small_runs import BARE, Pond, Told, leftovers, no_event_twice, rows, same_run

from ssdcore.errors import CheckpointError, TrainingError
from ssdcore.runs.checkpoint import load_checkpoint
from ssdcore.training import TrainingCallback, train


class Exhausted:
    """Lets some calls of the compiled step, counted over the whole run, say that memory is exhausted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *calls: int) -> None:
        self.calls, self.failing, self.images = 0, set(calls), 0

        def make(step: Callable[..., Any], *_: Any) -> Callable[..., Any]:
            def call(batch: Any, requests: Any) -> Any:
                self.calls += 1
                if self.calls in self.failing:
                    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\na tensor")
                self.images += len(batch[0])
                return step(batch, requests)

            return call

        wrap_steps(make, monkeypatch.setattr)


STAGES = (
    "train.stages=[{name: first, steps: 4, batch_size: 4, learning_rate: {kind: fixed, learning_rate: 0.01}},"
    " {name: second, epochs: 2, batch_size: 4}]"
)
"""Sixteen images, then sixteen; an epoch has two steps."""


@pytest.mark.parametrize("call", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_batch_that_memory_does_not_hold_is_halved(
    call: int, pond: Pond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, told = Exhausted(monkeypatch, call), Told()
    params = pond.params.override([STAGES, *BARE[1:], "train.eval_every=1"])
    train(params, pond.data, tmp_path / "run", pond.plugins, callback=told)
    (story,) = told.about("memory")
    assert story == (
        "a batch of 4 images does not fit into memory; continuing from step 0 with 2 and half the learning rates"
    )
    assert memory.images == 16 + 16 + 4 * (call - 1)
    found = [row for row in rows(tmp_path / "run") if row["loss"]]
    assert [row["step"] for row in found] == ["3", "6", "8", "11", "14", "16"]
    assert {float(row["learning_rate"]) for row in found} == {0.005, 0.0005}
    assert [row["step"] for row in rows(tmp_path / "run") if row["map"]] == ["4", "8", "12", "16"]
    before = load_checkpoint(tmp_path / "run/checkpoints/last.npz")
    assert before.progress["halvings"] == 1
    longer = params.override(["train.stages.1.epochs=3"])
    train(longer, pond.data, tmp_path / "run", pond.plugins, resume=True, callback=told)
    assert memory.images == 16 + 16 + 8 + 4 * (call - 1)
    assert len(told.about("memory")) == 1


@pytest.mark.slow
def test_a_saved_part_of_a_stage_counts_twice_as_many_half_batches(
    pond: Pond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step of four images was saved; the second does not fit, so two of two images are done."""
    memory = Exhausted(monkeypatch, 2)
    seen: list[tuple[int, int]] = []

    class Callback(TrainingCallback):
        def on_stage(self, name: str, done: int, total: int) -> None:
            seen.append((done, total))

    train(pond.params.override([STAGES]), pond.data, tmp_path / "run", pond.plugins, callback=Callback())
    assert seen == [(0, 4), (2, 8), (0, 8)]
    assert memory.images == 16 + 16
    assert [row["step"] for row in rows(tmp_path / "run") if row["loss"]][-1] == "15"


@pytest.mark.parametrize(
    ("stage", "calls", "size"),
    [
        ("{name: only, steps: 8, batch_size: 16}", (1, 2, 3, 4), 2),
        ("{name: only, steps: 8, batch_size: 4}", (3,), 4),
        ("{name: only, steps: 8, batch_size: 3}", (1,), 3),
        ("{name: only, steps: 8, batch_size: 6, accumulate: 2}", (1,), 6),
    ],
    ids=["four times", "behind the first epoch", "odd", "odd parts"],
)
def test_memory_that_halving_does_not_help_is_an_error_with_advice(
    stage: str, calls: tuple[int, ...], size: int, pond: Pond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Exhausted(monkeypatch, *calls)
    params = pond.params.override([f"train.stages=[{stage}]", *BARE])
    says = (
        rf"^a batch of {size} images does not fit into memory \(OOM when allocating a tensor\); set a smaller "
        r"train\.stages\.0\.batch_size, or split it \(train\.stages\.0\.accumulate=\d\)$"
    )
    with pytest.raises(TrainingError, match=says):
        train(params, pond.data, tmp_path / "run", pond.plugins)


@pytest.mark.parametrize("target", ["fsync", *(pytest.param(one, marks=pytest.mark.slow) for one in ("link", "size"))])
def test_a_full_disk_leaves_the_checkpoint_before(
    target: str, pond: Pond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found out at the flush, at the second name (where files have no second names), and in the midst of writing."""
    run = tmp_path / "run"
    train(pond.params, pond.data, tmp_path / "whole", pond.plugins)

    class Full(TrainingCallback):
        def on_step(self, done: int, total: int) -> None:
            if done == 5:
                fill()

    def no_space(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        if target == "size":
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        elif target == "link":
            monkeypatch.setattr(os, "link", no_space)
            monkeypatch.setattr(shutil, "copyfile", no_space)
        else:
            monkeypatch.setattr("ssdcore.files.os.fsync", no_space)

    says = "File too large" if target == "size" else "No space left on device"
    try:
        with pytest.raises(CheckpointError, match=rf"^cannot write {run}/checkpoints/.*: {says}"):
            train(pond.params, pond.data, run, pond.plugins, callback=Full())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        monkeypatch.undo()
    assert leftovers(run) == []
    assert load_checkpoint(run / "checkpoints/last.npz").progress["step"] == 4
    train(pond.params, pond.data, run, pond.plugins, resume=True)
    same_run(run, tmp_path / "whole")


@pytest.mark.slow
def test_a_full_disk_leaves_parameters_and_rows(pond: Pond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of parameters is written when a run goes on; it is the old one or the new one, never a part."""
    run = tmp_path / "run"
    train(pond.params, pond.data, run, pond.plugins)
    before = (run / "params.yaml").read_bytes()

    def no_space(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises((TrainingError, CheckpointError), match=r"cannot write .*: No space left on device"):
        train(pond.params.override(["train.log_every=1"]), pond.data, run, pond.plugins, resume=True)
    assert (run / "params.yaml").read_bytes() == before
    assert leftovers(run) == []


def test_a_disk_too_full_for_events_is_no_lack_of_memory(
    pond: Pond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow raises the error that a batch too large for the memory raises, with this message."""
    real = tf.summary.scalar

    def full(name: str, value: float) -> None:
        if name == "map":
            message = "{{function_node Flush}} /run/events/e.v2; No space left on device\n\tFailed to flush"
            raise tf.errors.ResourceExhaustedError(None, None, message)
        real(name, value)

    monkeypatch.setattr(tf.summary, "scalar", full)
    with pytest.raises(TrainingError, match=r"^cannot write .*/run/events: .*No space left on device Failed to flush"):
        train(pond.params, pond.data, tmp_path / "run", pond.plugins)
    monkeypatch.undo()
    train(pond.params, pond.data, tmp_path / "run", pond.plugins, resume=True)
    assert no_event_twice(tmp_path / "run")
