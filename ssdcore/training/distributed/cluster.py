"""The workers that train together: who they are (TF_CONFIG), and waiting until all have started.

TensorFlow waits for missing workers in native code, without a timeout and without handling Ctrl-C or SIGTERM. So
workers first meet here: each listens at its own address and connects to all others, until every pair has met.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ssdcore.errors import TrainingError

PATIENCE = 600.0
"""Seconds that workers wait for each other at the start: machines of one job may come up minutes apart."""

GREETING = b"ssd worker %d of %d\n"
PAUSE = 0.2
JOBS = ("chief", "worker")
UNSUPPORTED = {
    "evaluator": "the first worker evaluates while training",
    "ps": "every worker keeps all weights, so there are no parameter servers",
}
EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """The workers of a run, and which of them this process is.

    Attributes:
        jobs: `host:port` of each task of the jobs `chief` and `worker`.
        job: this process's job.
        task: this process's index in its job.
    """

    jobs: Mapping[str, tuple[str, ...]]
    job: str
    task: int

    @property
    def addresses(self) -> tuple[str, ...]:
        """`host:port` of all workers; the first is the chief."""
        return tuple(address for job in JOBS for address in self.jobs.get(job, ()))

    @property
    def index(self) -> int:
        """This process's index in `addresses`."""
        return self.task + (len(self.jobs.get("chief", ())) if self.job == "worker" else 0)


def read_cluster(text: str) -> Cluster:
    """Reads the value of TF_CONFIG.

    Raises:
        TrainingError: it does not follow TensorFlow's documentation, or names roles that are not supported.
    """
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise TrainingError(f"TF_CONFIG is not JSON ({error}); it should look like {EXAMPLE}") from None
    cluster, task = (config.get(key) if isinstance(config, dict) else None for key in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise TrainingError(f"TF_CONFIG needs a 'cluster' and a 'task', each an object, as in {EXAMPLE}")
    for role in sorted(map(str, {*cluster, task.get("type")} - {None, *JOBS})):
        reason = UNSUPPORTED.get(role, "TensorFlow knows no such role")
        raise TrainingError(f"TF_CONFIG has the role {role!r}, but {reason}; name only chief and worker")
    jobs = {job: _addresses(job, value) for job, value in cluster.items()}
    result = Cluster(jobs, *_task(task, jobs))
    twice = sorted({one for one in result.addresses if result.addresses.count(one) > 1})
    if twice:
        raise TrainingError(f"TF_CONFIG gives several workers the address {twice[0]}; each needs one of its own")
    return result


def _addresses(job: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise TrainingError(f"TF_CONFIG: cluster.{job} must be a list of host:port, not {json.dumps(value)}")
    if job == "chief" and len(value) > 1:
        raise TrainingError(
            f"TF_CONFIG: cluster.chief has {len(value)} addresses; leave one, and make the others workers"
        )
    for one in value:
        host, _, port = one.rpartition(":") if isinstance(one, str) else ("", "", "")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise TrainingError(f"TF_CONFIG: cluster.{job} has {one!r}, which is no host:port such as host1:2222")
    return tuple(value)


def _task(task: Mapping[str, Any], jobs: Mapping[str, tuple[str, ...]]) -> tuple[str, int]:
    job, index = task.get("type"), task.get("index", "missing")
    if job is None or job not in jobs:
        raise TrainingError(f"TF_CONFIG: task.type is {job!r}, the cluster has {' and '.join(jobs) or 'no jobs'}")
    try:
        number = -1 if isinstance(index, bool | float) else int(index)  # schedulers write it as text, too
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < len(jobs[job]):
        raise TrainingError(
            f"TF_CONFIG: task.index is {index!r}, cluster.{job} has {len(jobs[job])} addresses; "
            f"give 0 to {len(jobs[job]) - 1}"
        )
    return job, number


def meet(cluster: Cluster, patience: float = PATIENCE) -> None:
    """Returns when every worker has been in contact with every other.

    Raises:
        TrainingError: this worker's port is taken, or a worker did not start within `patience` seconds.
    """
    addresses, index = cluster.addresses, cluster.index
    if len(addresses) == 1:
        return
    others = set(range(len(addresses))) - {index}
    called: set[int] = set()
    callers: set[int] = set()
    give_up = time.monotonic() + patience
    with _listen(addresses[index]) as server, _answering(server, index, len(addresses), callers):
        while missing := others - (called & callers):
            if time.monotonic() > give_up:
                names = ", ".join(f"{other} ({addresses[other]})" for other in sorted(missing))
                raise TrainingError(
                    f"after {patience:.0f} s these of {len(addresses)} workers have not started: {names}; "
                    "start all of them with the same TF_CONFIG cluster, and check that they can reach each other"
                )
            time.sleep(PAUSE)
            called |= {other for other in others - called if _call(addresses[other], index, other, len(addresses))}


@contextmanager
def _answering(server: socket.socket, index: int, workers: int, callers: set[int]) -> Iterator[None]:
    """Answers in a thread, so that two workers that call each other do not both wait; adds to `callers`."""
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            try:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(2)
                    greeting = connection.makefile("rb").readline(64)
                    connection.sendall(GREETING % (index, workers))
            except OSError:
                continue
            callers.update(other for other in range(workers) if greeting == GREETING % (other, workers))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _listen(address: str) -> socket.socket:
    port = int(address.rpartition(":")[2])
    try:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        server = socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise TrainingError(
            f"this worker cannot listen at {address} ({reason}); stop what uses that port, such as an "
            "earlier run, or choose another one in every worker's TF_CONFIG"
        ) from None
    server.settimeout(PAUSE)
    return server


def _call(address: str, index: int, other: int, workers: int) -> bool:
    """Greets the worker at an address; False if nothing or something else answers."""
    host, _, port = address.rpartition(":")
    expected = GREETING % (other, workers)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2) as connection:
            connection.sendall(GREETING % (index, workers))
            return connection.makefile("rb").readline(len(expected)) == expected
    except OSError:
        return False
