"""Devices and workers: what is chosen, what is refused, and what happens when a worker is missing or lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
import tensorflow as tf
from ports import free_ports

from ssdcore.errors import TrainingError
from ssdcore.training.distributed import devices
from ssdcore.training.distributed.cluster import Cluster, meet, read_cluster
from ssdcore.training.distributed.devices import check_batch, describe, explain_lost_worker, lost_worker, make_strategy


def tf_config(cluster: Any, kind: str = "worker", index: Any = 0) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


TWO = {"worker": ["a:1", "b:2"]}


def test_workers_count_from_the_chief() -> None:
    cluster = read_cluster(tf_config({"worker": ["b:2", "c:3"], "chief": ["a:1"]}, "worker", 1))
    assert cluster.addresses == ("a:1", "b:2", "c:3")
    assert cluster.index == 2
    assert read_cluster(tf_config({"worker": ["b:2"], "chief": ["a:1"]}, "chief")).index == 0
    assert read_cluster(tf_config(TWO, "worker", "1")).index == 1


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{worker", "TF_CONFIG is not JSON"),
        ("[1]", "needs a 'cluster' and a 'task'"),
        ('{"task": {"type": "worker", "index": 0}}', "needs a 'cluster' and a 'task'"),
        (json.dumps({"cluster": TWO}), "needs a 'cluster' and a 'task'"),
        (json.dumps({"cluster": TWO, "task": {}}), "task.type is None, the cluster has worker"),
        (json.dumps({"cluster": {}, "task": {"type": "worker", "index": 0}}), "the cluster has no jobs"),
        (tf_config(TWO, "chief"), "task.type is 'chief', the cluster has worker"),
        (tf_config(TWO, "worker", 2), "task.index is 2, cluster.worker has 2 addresses; give 0 to 1"),
        (tf_config(TWO, "worker", -1), "task.index is -1"),
        (tf_config(TWO, "worker", "one"), "task.index is 'one'"),
        (tf_config(TWO, "worker", None), "task.index is None"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker"}}), "task.index is 'missing'"),
        (tf_config(TWO, "worker", True), "task.index is True"),
        (tf_config(TWO, "evaluator"), "'evaluator', but the first worker evaluates"),
        (tf_config({**TWO, "ps": ["c:3"]}), "'ps', but every worker keeps all weights"),
        (tf_config({"worker": "a:1"}), 'must be a list of host:port, not "a:1"'),
        (tf_config({"worker": []}), "must be a list of host:port"),
        (tf_config({"worker": ["a"]}), "'a', which is no host:port"),
        (tf_config({"worker": ["a:99999"]}), "'a:99999', which is no host:port"),
        (tf_config({"worker": ["a:1", "a:1"]}), "several workers the address a:1"),
        (tf_config({"chief": ["a:1", "b:1"]}, "chief"), "cluster.chief has 2 addresses"),
    ],
)
def test_issues_of_tf_config(config: str, says: str) -> None:
    with pytest.raises(TrainingError) as caught:
        make_strategy(None, {"TF_CONFIG": config})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


class Machine:
    """Stands for a machine with some GPUs."""

    def __init__(self, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.visible: list[str] | None = None
        names = [f"gpu-{number}" for number in range(gpus)]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: names if kind == "GPU" else ["cpu"])
        monkeypatch.setattr(tf.config, "set_visible_devices", self.see)
        monkeypatch.setattr(tf.distribute, "MirroredStrategy", tuple)

    def see(self, names: list[str], kind: str) -> None:
        assert kind == "GPU"
        self.visible = names


@pytest.mark.parametrize(
    ("wanted", "gpus", "strategy", "visible"),
    [
        ("all", 3, ("GPU:0", "GPU:1", "GPU:2"), None),
        ("all", 1, None, None),
        ("all", 0, None, None),
        (None, 4, None, None),
        ("0,2", 3, ("GPU:0", "GPU:1"), ["gpu-0", "gpu-2"]),
        ("2", 3, None, ["gpu-2"]),
    ],
)
def test_gpus(
    wanted: str | None, gpus: int, strategy: Any, visible: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(gpus, monkeypatch)
    assert make_strategy(wanted, {}) == (strategy or tf.distribute.get_strategy())
    assert machine.visible == visible


@pytest.mark.parametrize(
    ("wanted", "gpus", "says"),
    [
        ("2", 2, "there is no GPU 2; this machine has: 0, 1"),
        ("0", 0, "there is no GPU 0; this machine has: none"),
        ("0,0", 1, "GPU 0 is named twice"),
        ("0,,1", 2, "are invalid"),
        ("", 2, "are invalid"),
        ("gpu", 2, "numbers of GPUs such as 0,1 .this machine has: 0, 1., or cpu:N"),
        ("cpu:0", 0, "a number of devices from 1 to 99"),
        ("cpu", 0, "a number of devices from 1 to 99"),
    ],
)
def test_devices_that_are_not_there(wanted: str, gpus: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(gpus, monkeypatch)
    with pytest.raises(TrainingError, match=says):
        make_strategy(wanted, {})


def test_logical_devices_are_for_one_process() -> None:
    with pytest.raises(TrainingError, match="TF_CONFIG is set"):
        make_strategy("cpu:2", {"TF_CONFIG": tf_config(TWO)})


def test_devices_come_first() -> None:
    tf.zeros([])
    with pytest.raises(TrainingError, match="must be chosen before TensorFlow is initialised"):
        make_strategy("cpu:2", {})


def run(code: str, *arguments: object, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


DESCRIBE = """
import sys
from ssdcore.training.distributed.devices import check_batch, describe, is_chief, make_strategy
from ssdcore.training.distributed.devices import worker_count, worker_index
strategy = make_strategy(sys.argv[1] or None)
print(describe(strategy, 32), is_chief(strategy), worker_count(strategy), worker_index(strategy))
try:
    check_batch(strategy, 7, 2)
except Exception as error:
    print(error)
"""


@pytest.mark.slow
def test_logical_devices_of_the_cpu() -> None:
    out, err = run(DESCRIBE, "cpu:2").communicate(timeout=120)
    assert out.splitlines() == [
        "2 devices, 32 images per step (16 per device) True 1 0",
        "a batch of 7 images cannot be divided evenly among 2 devices in 2 parts each; set batch_size to 4 or 8",
    ], err


@pytest.mark.slow
def test_a_cluster_of_one_worker() -> None:
    config = tf_config({"worker": [f"localhost:{free_ports(1)[0]}"]})
    out, err = run(DESCRIBE, "", TF_CONFIG=config).communicate(timeout=120)
    assert out.splitlines()[0] == "1 device, 32 images per step True 1 0", err


def test_one_device() -> None:
    strategy = tf.distribute.get_strategy()
    assert describe(strategy, 1) == "1 device, 1 image per step"
    assert (devices.is_chief(strategy), devices.worker_count(strategy), devices.worker_index(strategy)) == (True, 1, 0)
    check_batch(strategy, 7)
    with pytest.raises(TrainingError, match=r"1 device.* in 4 parts each; set batch_size to 4 or 8"):
        check_batch(strategy, 7, 4)
    with pytest.raises(TrainingError, match=r"set batch_size to 4$"):
        check_batch(strategy, 3, 4)


def local_cluster(ports: list[int], index: int) -> Cluster:
    return Cluster({"worker": tuple(f"localhost:{port}" for port in ports)}, "worker", index)


def test_workers_meet_whoever_comes_first() -> None:
    ports = free_ports(4)
    met: list[int] = []

    def worker(index: int) -> None:
        meet(local_cluster(ports, index), patience=20)
        met.append(index)

    threads = [threading.Thread(target=worker, args=(index,)) for index in range(4)]
    for thread in threads[1:]:
        thread.start()
    threads[1].join(1.0)
    assert met == []
    threads[0].start()
    for thread in threads:
        thread.join(20)
    assert sorted(met) == [0, 1, 2, 3]


def test_a_worker_that_never_comes_up() -> None:
    ports = free_ports(2)
    with pytest.raises(TrainingError, match=rf"after 1 s .* not started: 1 \(localhost:{ports[1]}\); start all"):
        meet(local_cluster(ports, 0), patience=1)


def test_something_else_at_a_workers_address_is_no_worker() -> None:
    ports = free_ports(2)
    with socket.create_server(("localhost", ports[1])), pytest.raises(TrainingError, match="not started: 1 "):
        meet(local_cluster(ports, 0), patience=1)


def test_a_port_in_use() -> None:
    ports = free_ports(2)
    with (
        socket.create_server(("", ports[0])),
        pytest.raises(TrainingError, match=rf"cannot listen at localhost:{ports[0]} \(Address already in use\)"),
    ):
        meet(local_cluster(ports, 0), patience=1)


LOOP = """
import sys, time
import tensorflow as tf
from ssdcore.errors import TrainingError
from ssdcore.training.distributed.devices import describe, explain_lost_worker, is_chief, make_strategy, worker_index
strategy = make_strategy(None)
print(describe(strategy, 32), worker_index(strategy), is_chief(strategy), flush=True)
@tf.function
def step():
    add = lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(1.0))
    return strategy.run(add)
try:
    with explain_lost_worker(strategy):
        for number in range(int(sys.argv[1])):
            value = float(strategy.experimental_local_results(step())[0])
            if number == 20:
                print("running", value, flush=True)
            time.sleep(0.02)
except TrainingError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
print("end")
"""


def start_two(steps: int) -> list["subprocess.Popen[str]"]:
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    return [run(LOOP, steps, TF_CONFIG=tf_config(cluster, "worker", index)) for index in (0, 1)]


@pytest.mark.slow
def test_two_workers_run_to_the_end() -> None:
    outs = [worker.communicate(timeout=120) for worker in start_two(30)]
    for index, (out, err) in enumerate(outs):
        expected = f"2 workers x 1 device, 32 images per step (16 per device) {index} {index == 0}"
        assert out.splitlines() == [expected, "running 2.0", "end"], err


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_worker_ends_the_other_with_a_reason(lost: int) -> None:
    workers = start_two(100_000)
    for worker in workers:
        lines = [worker.stdout.readline() for _ in range(2)]
        assert lines[1] == "running 2.0\n", worker.communicate()[1]
    workers[lost].send_signal(signal.SIGKILL)
    _, err = workers[1 - lost].communicate(timeout=60)
    assert workers[1 - lost].returncode == 1
    assert "a worker was lost, so the other cannot continue" in err.splitlines()[-1]
    assert err.endswith("its log says why\n")
    workers[lost].communicate()


def test_other_errors_are_no_lost_worker() -> None:
    assert lost_worker(tf.errors.UnavailableError(None, None, "Socket closed"))
    assert lost_worker(tf.errors.InternalError(None, None, "Collective ops is aborted by: x"))
    assert not lost_worker(tf.errors.ResourceExhaustedError(None, None, "OOM"))
    assert not lost_worker(ValueError("x"))
    with pytest.raises(tf.errors.UnavailableError), explain_lost_worker(tf.distribute.get_strategy()):
        raise tf.errors.UnavailableError(None, None, "one process has no other workers")
