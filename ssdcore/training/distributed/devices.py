"""The devices and workers that share a training step."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from ssdcore.errors import TrainingError
from ssdcore.training.distributed.cluster import PATIENCE, Cluster, meet, read_cluster

Strategy = Any


def make_strategy(devices: str | None, environ: Mapping[str, str] = os.environ, patience: float = PATIENCE) -> Strategy:
    """The `tf.distribute.Strategy` for some devices. Call it before TensorFlow does anything else.

    Args:
        devices: `all` GPUs, the numbers of some (`0,1`), or `cpu:N` for N logical devices of the CPU;
            None: the first GPU or the CPU, or with TF_CONFIG all GPUs of this worker.
        environ: where TF_CONFIG, as TensorFlow documents it, may make this process one of several workers.
        patience: seconds that workers wait for each other.

    Raises:
        TrainingError: there are no such devices, TF_CONFIG is invalid, a worker did not start, or
            TensorFlow is initialised already.
    """
    text = environ.get("TF_CONFIG", "").strip()
    cluster = read_cluster(text) if text not in ("", "{}") else None
    on_cpu = devices is not None and devices.startswith("cpu")
    if cluster and on_cpu:
        raise TrainingError(f"devices {devices!r} are for one process, but TF_CONFIG is set", "devices_and_cluster")
    try:
        names = _cpus(devices) if devices and on_cpu else _gpus(devices)
        if cluster:
            return _workers(cluster, len(names), patience)
    except RuntimeError as error:
        raise TrainingError(
            f"devices must be chosen before TensorFlow is initialised ({error}); call make_strategy first"
        ) from None
    return tf.distribute.MirroredStrategy(names) if devices and len(names) > 1 else tf.distribute.get_strategy()


def _cpus(devices: str) -> list[str]:
    """Divides the CPU into logical devices; their names."""
    match = re.fullmatch(r"cpu:([1-9]\d?)", devices)
    if not match:
        raise TrainingError(f"devices {devices!r} are invalid; cpu:N takes a number of devices from 1 to 99")
    count = int(match[1])
    tf.config.set_visible_devices([], "GPU")
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return [f"CPU:{number}" for number in range(count)]


def _gpus(devices: str | None) -> list[str]:
    """Hides all GPUs but the chosen ones from TensorFlow; the names of those left."""
    gpus = tf.config.list_physical_devices("GPU")
    if devices is None or devices == "all":
        return [f"GPU:{number}" for number in range(len(gpus))]
    known = ", ".join(map(str, range(len(gpus)))) or "none"
    chosen = devices.split(",")
    if not all(re.fullmatch(r" *\d+ *", one) for one in chosen):
        raise TrainingError(
            f"devices {devices!r} are invalid; give all, numbers of GPUs such as 0,1 (this machine has: {known}), or "
            "cpu:N"
        )
    numbers = [int(one) for one in chosen]
    for number in numbers:
        if number >= len(gpus):
            raise TrainingError(f"devices {devices!r}: there is no GPU {number}; this machine has: {known}")
        if numbers.count(number) > 1:
            raise TrainingError(f"devices {devices!r}: GPU {number} is named twice")
    tf.config.set_visible_devices([gpus[number] for number in numbers], "GPU")
    return [f"GPU:{number}" for number in range(len(numbers))]


def _workers(cluster: Cluster, gpus: int, patience: float) -> Strategy:
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({job: list(addresses) for job, addresses in cluster.jobs.items()}),
        task_type=cluster.job,
        task_id=cluster.task,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )
    meet(cluster, patience)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except tf.errors.OpError as error:
        raise TrainingError(
            f"worker {cluster.index} of {len(cluster.addresses)} at {cluster.addresses[cluster.index]} could not join "
            f"the others: {_cause(error)}; start all of them again"
        ) from None


def worker_count(strategy: Strategy) -> int:
    """Processes that train together."""
    return len(_tasks(strategy)) or 1


def worker_index(strategy: Strategy) -> int:
    """This process's number among them, from 0."""
    resolver = strategy.cluster_resolver
    tasks = _tasks(strategy)
    return tasks.index((resolver.task_type, resolver.task_id)) if tasks else 0


def numbers_of_all(strategy: Strategy, number: float) -> list[float]:
    """The `number` of each worker, in their order; all of them must call this."""
    workers = worker_count(strategy)
    if workers == 1:
        return [number]
    own = number * tf.one_hot(worker_index(strategy), workers, dtype=tf.float64)

    def add() -> Any:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(own))

    total = strategy.experimental_local_results(tf.function(lambda: strategy.run(add))())[0]
    return [float(one) for one in total.numpy() * workers / strategy.num_replicas_in_sync]


def is_chief(strategy: Strategy) -> bool:
    """Whether this process is the first worker, which alone writes files."""
    return worker_index(strategy) == 0


def _tasks(strategy: Strategy) -> list[tuple[str, int]]:
    """All workers, the chief first; empty for a single process."""
    if strategy.cluster_resolver is None:
        return []
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return [(job, index) for job in ("chief", "worker") for index in range(len(jobs.get(job, ())))]


def describe(strategy: Strategy, batch: int) -> str:
    """The devices and workers that share a step of `batch` images, in one line."""
    workers, replicas = worker_count(strategy), strategy.num_replicas_in_sync
    own = replicas // workers
    on = f"{own} device{'s' if own > 1 else ''}"
    if workers > 1:
        on = f"{workers} workers x {on}"
    each = f" ({batch // replicas} per device)" if replicas > 1 else ""
    return f"{on}, {batch} image{'s' if batch > 1 else ''} per step{each}"


def check_batch(strategy: Strategy, batch: int, accumulate: int = 1) -> None:
    """Makes sure that a batch divides evenly among the devices.

    Args:
        strategy: of the devices.
        batch: images per step.
        accumulate: parts in which each device processes its part of the batch.

    Raises:
        TrainingError: it does not; the message names the nearest sizes that do.
    """
    replicas = strategy.num_replicas_in_sync
    unit = replicas * accumulate
    if batch % unit:
        below = batch // unit * unit
        parts = f" in {accumulate} parts each" if accumulate > 1 else ""
        nearest = f"{below} or {below + unit}" if below else str(unit)
        raise TrainingError(
            f"a batch of {batch} images cannot be divided evenly among {replicas} devices{parts}; set batch_size "
            f"to {nearest}"
        )


def lost_worker(error: BaseException) -> bool:
    """Whether a TensorFlow error means that another worker is gone.

    Observed by killing one of two workers: a collective raises `UnavailableError`, at once if the first worker
    died (connection refused), after 10 s if another did (missing heartbeats).
    """
    return isinstance(error, tf.errors.UnavailableError) or (
        isinstance(error, tf.errors.OpError) and "Collective ops is aborted" in error.message
    )


@contextmanager
def explain_lost_worker(strategy: Strategy) -> Iterator[None]:
    """Turns TensorFlow's error about a lost worker into one that can be understood.

    Raises:
        TrainingError: a worker was lost.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if worker_count(strategy) == 1 or not lost_worker(error):
            raise
        raise TrainingError(
            f"a worker was lost, so the other{'s' if worker_count(strategy) > 2 else ''} cannot continue "
            f"({_cause(error)}); its log says why",
            "worker_lost",
        ) from error


def _cause(error: tf.errors.OpError) -> str:
    """The informative part of TensorFlow's message."""
    text = str(error.message).partition("Collective ops is aborted by:")[2] or str(error.message)
    return " ".join(text.split())[:200]
