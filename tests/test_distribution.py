"""One run on two devices and on two workers: the same losses as on one device, one set of files, and what ends it.

All processes are real. Losses differ by the order in which float32 numbers are added up, so the
runs that are compared take small steps without augmentation, where that does not grow.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from injected import killing, planted
from shared_runs import Bench, Ending, Told, end_in_ways
from small_runs import Pond, leftovers, rows, same_run, spoil_image
from test_devices import free_ports

from ssdcore.data.order import records_at
from ssdcore.data.records.index import RecordIndex
from ssdcore.errors import TrainingError
from ssdcore.runs.checkpoint import load_checkpoint
from ssdcore.runs.run_folder import RunFolder, step_of
from ssdcore.training import train
from ssdcore.training.dataset import TrainingDataset
from ssdcore.training.distributed import agreement
from ssdcore.training.distributed.cluster import read_cluster

PLAIN = ["augment={horizontal_flip: 0, crop: null, expand: null, photometric: null, interpolations: [bilinear]}"]
SGD = "{kind: fixed, learning_rate: 0.001, warmup_steps: 10}"
LOG = ["train.log_every=1", "train.save_minutes=100"]


def stage(steps: int, batch: int = 4, more: str = "", rate: str = SGD) -> str:
    return (
        f"train.stages=[{{name: only, steps: {steps}, batch_size: {batch}, optimizer: {{kind: sgd}},"
        f" learning_rate: {rate}{more}}}]"
    )


CURVE = [*PLAIN, *LOG, "train.eval_every=10", stage(50)]
PARTS = [*PLAIN, *LOG, "train.eval_every=0", stage(6, 8, ", accumulate: 2")]
STAGES = [
    "train.eval_every=0",
    "train.stages=[{name: a, trainable: [stage4], steps: 3, batch_size: 2},"
    " {name: b, steps: 4, batch_size: 2, optimizer: {kind: adam}}]",
]
FROZEN = "{kind: fixed, learning_rate: 1.0e-12}"
EARLY = [*LOG, "train.eval_every=1", "train.early_stop=1", stage(40, 4, ", freeze_batch_norm: true", FROZEN)]
"""Nothing changes, so that the second evaluation, after step 4, is no better than the first."""

POISON = planted("poison", step=5, where="second worker")
RECOVERS = [*LOG, "train.eval_every=1", stage(8)]


def parts_of_two_replicas(real: Any) -> Any:
    """Sorts a batch of 8 for one device so that its halves are the parts of two replicas: 0 1 4 5 and 2 3 6 7."""

    def batches(self: TrainingDataset, *arguments: Any) -> Iterator[Any]:
        for batch in real(self, *arguments):
            yield tuple(tf.gather(tensor, [0, 1, 4, 5, 2, 3, 6, 7]) for tensor in batch)

    return batches


@pytest.fixture(scope="module")
def alone(pond: Pond) -> Path:
    """Runs on one device: the curve, and accumulation over the parts that two replicas have."""
    folder = pond.root / "alone"
    train(pond.params.override(CURVE), pond.data, folder / "curve", pond.plugins)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingDataset, "batches", parts_of_two_replicas(TrainingDataset.batches))
        train(pond.params.override(PARTS), pond.data, folder / "parts", pond.plugins)
    return folder


CHAIN = ["train.eval_every=2", "train.stages=[{name: only, steps: 26, batch_size: 2, optimizer: {kind: adam}}]"]


def stopped_at_20(run: Path, copy: Path) -> Path:
    """A copy of a run as it was after its first evaluation."""
    shutil.copytree(run, copy)
    shutil.copyfile(copy / "checkpoints/step-00000020.npz", copy / "checkpoints/lost.npz")
    (copy / "checkpoints/lost.npz").replace(copy / "checkpoints/last.npz")
    return copy


@pytest.fixture(scope="module")
def workers(pond: Pond, alone: Path) -> tuple[Bench, list[Told]]:
    """The runs on two workers, one after the other in the same two processes."""
    folder = pond.root / "workers"
    folder.mkdir()
    stopped_at_20(alone / "curve", folder / "resumed")
    runs = {
        "curve": {"assignments": CURVE},
        "resumed": {"assignments": CURVE},
        "parts": {"assignments": PARTS},
        "early": {"assignments": EARLY},
        "recovers": {"assignments": RECOVERS, "code": POISON},
        "chain": {"assignments": CHAIN},
        "saves": {"assignments": ["train.keep=9", "train.eval_every=0", stage(6)]},
    }
    index = RecordIndex.of_split(pond.data, "trainval")
    spoilt = shutil.copytree(pond.data, pond.root / "spoilt")
    spoil_image(spoilt, index.name(int(records_at(8, (0, 0), np.array([6]))[0])))
    runs["spoilt"] = {"assignments": [*LOG, "train.eval_every=0", stage(2)], "data": spoilt}
    code = planted("retry", times=1) + planted("poison", step=5, times=9, where="second worker")
    runs["fails"] = {"assignments": RECOVERS, "code": code}
    bench = Bench(pond, folder, runs)
    return bench, bench.run_on_two_workers()


@pytest.fixture(scope="module")
def devices(pond: Pond) -> Bench:
    """The runs on two logical devices of the CPU; the last has a stage in which a part of the network learns."""
    folder = pond.root / "devices"
    folder.mkdir()
    runs = {"curve": {"assignments": CURVE}, "parts": {"assignments": PARTS}, "stages": {"assignments": STAGES}}
    bench = Bench(pond, folder, runs)
    bench.run_on_two_devices()
    return bench


def losses(run: Path) -> np.ndarray:
    """Loss and its parts of each step, (steps, 5)."""
    columns = ("loss", "class_loss", "positive_loss", "negative_loss", "box_loss")
    return np.array([[float(row[name]) for name in columns] for row in rows(run) if row["loss"]])


def same_losses(run: Path, expected: Path, steps: int) -> None:
    found, wanted = losses(run), losses(expected)
    assert len(found) == len(wanted) == steps
    assert np.ptp(wanted[:, 0]) > 0.1  # the curve is a curve
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=0)


@pytest.mark.slow
def test_two_devices_learn_what_one_does(alone: Path, devices: Bench) -> None:
    """50 steps of 4 images, batch statistics of both together: losses within 1e-4 of their size."""
    same_losses(devices.folder / "curve", alone / "curve", 50)


@pytest.mark.slow
def test_two_workers_learn_what_one_device_does(alone: Path, workers: tuple[Bench, list[Told]]) -> None:
    bench, told = workers
    same_losses(bench.folder / "curve", alone / "curve", 50)
    assert [one.runs["curve"]["steps"] for one in told] == [50, 50]
    evaluated = [row["step"] for row in rows(bench.folder / "curve") if row["map"]]
    assert evaluated == [row["step"] for row in rows(alone / "curve") if row["map"]] == ["20", "40", "50"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["curve", "parts", "stages"])
def test_both_devices_hold_the_same_weights(name: str, devices: Bench) -> None:
    same_weights(devices, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["curve", "resumed", "parts", "early", "recovers", "spoilt", "chain"])
def test_both_workers_hold_the_same_weights(name: str, workers: tuple[Bench, list[Told]]) -> None:
    same_weights(workers[0], name)


def same_weights(bench: Bench, name: str) -> None:
    """Bit by bit on both, batch statistics included, and in the checkpoint."""
    one, other = bench.weights(name, 0), bench.weights(name, 1)
    assert sum("moving" in variable for variable in one) >= 8
    assert one.keys() == other.keys()
    for variable in one:
        assert one[variable].tobytes() == other[variable].tobytes(), variable
    saved = load_checkpoint(bench.folder / name / "checkpoints/last.npz").below("model/")
    assert sorted(value.tobytes() for value in saved.values()) == sorted(value.tobytes() for value in one.values())


@pytest.mark.slow
def test_only_the_first_worker_writes(pond: Pond, workers: tuple[Bench, list[Told]]) -> None:
    bench, (chief, other) = workers
    assert sum(path.endswith("metrics.csv") or "partial" in path for path in chief.written) > 50
    touched = [path for path in other.written if path.startswith(str(pond.root)) and not path.endswith("-1.npz")]
    assert touched == []
    assert [list((pond.root / f"cwd{index}").iterdir()) for index in range(2)] == [[], []]
    for name in bench.runs:
        run = bench.folder / name
        kinds = {path.name for path in run.iterdir()}
        assert kinds == {".lock", "params.yaml", "classes.json", "metrics.csv", "checkpoints", "events"}
        written_by = {path.name.split(".")[-3] for path in (run / "events").iterdir()}
        assert str(chief.pid) in written_by
        assert str(other.pid) not in written_by
        assert leftovers(run) == []


@pytest.mark.slow
def test_runs_go_on_with_other_numbers_of_devices(
    pond: Pond, alone: Path, workers: tuple[Bench, list[Told]], tmp_path: Path
) -> None:
    """20 steps on one and 30 on two, and the other way round: losses within 1e-4, weights within 2e-4."""
    bench, told = workers
    run = stopped_at_20(bench.folder / "curve", tmp_path / "run")
    train(pond.params.override(CURVE), pond.data, run, pond.plugins, resume=True)
    assert [one.runs["resumed"]["steps"] for one in told] == [30, 30]
    expected = load_checkpoint(alone / "curve/checkpoints/last.npz").below("model/")
    for one in (run, bench.folder / "resumed"):
        np.testing.assert_allclose(losses(one), losses(alone / "curve"), rtol=1e-4)
        found = load_checkpoint(one / "checkpoints/last.npz").below("model/")
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-4, err_msg=name)


@pytest.mark.slow
def test_accumulation_on_two_devices(alone: Path, devices: Bench, workers: tuple[Bench, list[Told]]) -> None:
    """The parts of both devices share their batch statistics, so one device with those parts does the same."""
    same_losses(devices.folder / "parts", alone / "parts", 6)
    same_losses(workers[0].folder / "parts", alone / "parts", 6)


@pytest.mark.slow
def test_workers_that_read_different_checkpoints_stop(
    pond: Pond, alone: Path, workers: tuple[Bench, list[Told]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [one.numbers for one in workers[1]] == [[3, 4], [3, 4]]
    monkeypatch.setattr(agreement, "numbers_of_all", lambda strategy, number: [number, number - 2])
    run = stopped_at_20(alone / "curve", tmp_path / "run")
    with pytest.raises(TrainingError, match=rf"different steps \(20, 18\) in {run}/checkpoints; all of them"):
        train(pond.params.override(CURVE), pond.data, run, pond.plugins, resume=True)


@pytest.mark.slow
def test_an_early_end_comes_to_both_workers_after_the_same_step(workers: tuple[Bench, list[Told]]) -> None:
    """Evaluations follow steps 2 and 4; the first worker asks with step 5, which is heard behind step 6."""
    bench, told = workers
    assert [one.runs["early"]["steps"] for one in told] == [6, 6]
    progress = load_checkpoint(bench.folder / "early/checkpoints/last.npz").progress
    assert (progress["step"], progress["stage_over"]) == (6, True)


@pytest.mark.slow
def test_each_request_to_save_saves_once(workers: tuple[Bench, list[Told]]) -> None:
    """A save is always due; what one step asks for is done behind the next one."""
    kept = RunFolder(workers[0].folder / "saves").numbered()
    assert sorted(map(step_of, kept)) == [0, 2, 4, 6]


@pytest.mark.slow
def test_a_non_finite_step_of_one_worker_takes_both_back(workers: tuple[Bench, list[Told]]) -> None:
    """The second worker's images of step 5 are no numbers once."""
    bench, told = workers
    for one in told:
        (warning,) = [text for text in one.runs["recovers"]["warnings"] if "not finite" in text]
        assert "not finite at step 5, " in warning
        assert "restarted from step 4 with 0.5 of the original learning rates (restart 1 of 3)" in warning
        assert one.runs["recovers"]["steps"] == 8 + 1
    last = load_checkpoint(bench.folder / "recovers/checkpoints/last.npz")
    assert (last.progress["step"], last.progress["retries"], last.progress["rate_scale"]) == (8, 1, 0.5)
    assert [row["step"] for row in rows(bench.folder / "recovers") if row["loss"]] == list("12345678")


@pytest.mark.slow
def test_lasting_non_finite_steps_end_both_workers(workers: tuple[Bench, list[Told]]) -> None:
    for one in workers[1]:
        assert "not finite at step 5, " in one.runs["fails"]["error"]
        assert "1 restarts, the last at 0.5 of the learning rate, did not help" in one.runs["fails"]["error"]


@pytest.mark.slow
def test_an_image_that_one_worker_cannot_decode(workers: tuple[Bench, list[Told]]) -> None:
    """The third of the last batch of an epoch: the second worker leaves it out, the other goes on."""
    warnings = [[text for text in one.runs["spoilt"]["warnings"] if "left out" in text] for one in workers[1]]
    assert [len(found) for found in warnings] == [0, 1]
    assert [one.runs["spoilt"]["steps"] for one in workers[1]] == [2, 2]


@pytest.mark.slow
def test_a_batch_that_does_not_divide_is_refused(pond: Pond, tmp_path: Path) -> None:
    program = pond.child("", *pond.arguments(tmp_path / "run", "--devices", "cpu:2", stage(2, 3)))
    assert program.wait() == 1
    (line,) = [line for line in program.lines() if line]
    assert line == ("error: a batch of 3 images cannot be divided evenly among 2 devices; set batch_size to 2 or 4")
    assert not (tmp_path / "run").exists()


DIES = killing("step shown", 5)
IS_TOLD = killing("step shown", 2, "after", signal.SIGTERM)
IS_TOLD_THEN = killing("warm-up", 1, "after", signal.SIGTERM)
IS_TOLD_FIRST = killing("stage shown", 1, "after", signal.SIGTERM)
WAYS = {
    "second dies": ("", DIES),
    "first dies": (DIES, ""),
    "both told": (IS_TOLD, IS_TOLD),
    "second told": ("", IS_TOLD),
    "first told in an evaluation": (IS_TOLD_THEN, ""),
    "both told in that evaluation": (IS_TOLD_THEN, IS_TOLD_FIRST),
}
"""How a run is ended, one way after the other, each time started again: what the two workers' programs do."""

BOUND = 60.0
"""Seconds within which docs/distributed.md says that a worker notices the loss of another."""


@pytest.fixture(scope="module")
def endings(pond: Pond) -> dict[str, Ending]:
    """The same run, ended in all `WAYS` and gone on with each time."""
    return end_in_ways(pond, pond.root / "rough", WAYS, CHAIN)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "lost", "code"),
    [("second dies", 1, -9), ("first dies", 0, -9), ("first told in an evaluation", 0, 143)],
)
def test_a_lost_worker_ends_the_other(way: str, lost: int, code: int, endings: dict[str, Ending]) -> None:
    ending = endings[way]
    assert ending.codes[lost] == code
    messages = ending.messages[1 - lost]
    assert ending.codes[1 - lost] == 1, messages
    errors = [line for line in messages if line.startswith("error: ")]
    assert errors == messages[-1:]
    assert errors[0].startswith("error: a worker was lost, so the other cannot continue (")
    assert errors[0].endswith("its log says why; restart all workers with --resume")
    assert ending.seconds < BOUND
    if code < 0:
        assert ending.before + 3 <= ending.after <= ending.before + 5
    else:
        assert ending.after % 8 == 0


@pytest.mark.slow
@pytest.mark.parametrize(("way", "codes"), [("both told", [143, 143]), ("second told", [130, 143])])
def test_a_signal_ends_both_workers_after_the_same_step(way: str, codes: list[int], endings: dict[str, Ending]) -> None:
    """It comes behind the second step, goes along with the third, and is heard of behind the fourth."""
    ending = endings[way]
    assert ending.codes == codes, ending.messages
    assert [lines[-1] for lines in ending.messages] == [{130: "interrupted", 143: "terminated"}[code] for code in codes]
    assert ending.after == ending.before + 4
    assert ending.seconds < 30


@pytest.mark.slow
def test_a_signal_while_the_other_evaluates_ends_both(endings: dict[str, Ending]) -> None:
    """The second one waits in its next step, which cannot be done any more."""
    ending = endings["both told in that evaluation"]
    assert ending.codes == [143, 143], ending.messages
    assert [lines[-1] for lines in ending.messages] == ["terminated", "terminated"]
    assert ending.after == ending.before


def block(begin: str) -> str:
    """The block of code in docs/distributed.md that has this line."""
    blocks = (Path(__file__).parent.parent / "docs/distributed.md").read_text().split("```")[1::2]
    (found,) = [text for text in blocks if f"\n{begin}\n" in text]
    return found.partition("\n")[2]


@pytest.mark.slow
def test_they_go_on_to_the_same_weights_by_the_documented_commands(
    pond: Pond, endings: dict[str, Ending], workers: tuple[Bench, list[Told]], ssd_command: list[str], tmp_path: Path
) -> None:
    """Bit by bit those of a run on two workers that nothing disturbed, and its rows and events."""
    assert endings["first told in an evaluation"].after < 26
    (tmp_path / "records").symlink_to(pond.data)
    (tmp_path / "run").symlink_to(pond.root / "rough")
    ports = free_ports(2)
    script = block("    ssd train --data records --out run --resume &")
    for written, port in zip(("23450", "23451"), ports, strict=True):
        script = script.replace(written, str(port))
    path = f"{Path(ssd_command[0]).parent}:{os.environ['PATH']}"
    environ = {**pond.environment(), "PATH": path}
    command = ["bash", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.count("done; next: ssd eval run --data records") == 2, done.stderr[-3000:]
    same_run(pond.root / "rough", workers[0].folder / "chain")


FAKES = {
    "scontrol": 'test "$*" = "show hostnames node[07-08]" && printf "node07\\nnode08\\n"',
    "ssd": 'echo "$TF_CONFIG"; echo "$@"',
}


@pytest.mark.parametrize("task", [0, 1])
def test_the_documented_script_for_slurm(task: int, tmp_path: Path) -> None:
    """With programs in the place of SLURM's and ours."""
    for name, body in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "worker.sh").write_text(block("# worker.sh: what each task of the job runs"))
    environ = {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_STEP_NODELIST": "node[07-08]",
        "SLURM_PROCID": str(task),
        "SLURM_JOB_ID": "123456",
    }
    command = ["bash", str(tmp_path / "worker.sh"), "--out", "my run"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    config, arguments = done.stdout.splitlines()
    cluster = read_cluster(config)
    assert cluster.addresses == ("node07:23456", "node08:23456")
    assert cluster.index == task
    assert arguments == "train --out my run"
