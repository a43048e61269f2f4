"""Measures what a detector costs on this machine, each in a subprocess of its own."""

import multiprocessing
import signal
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from ssdcli.options import Images
from ssdcore.errors import SsdError
from ssdcore.params import ParamSet


@dataclass(frozen=True)
class Candidate:
    """A detector to measure.

    Attributes:
        name: to show.
        params: what to build.
        classes: names of its classes.
        checkpoint: its weights; None: random ones, whose detections mean nothing.
    """

    name: str
    params: ParamSet
    classes: tuple[str, ...]
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Measured:
    """Cost and accuracy of a detector.

    Attributes:
        name: of the candidate.
        backbone: its backbone.
        image_size: height and width of the network input, px.
        parameters: number of values in its weights file.
        macs: multiplications of its convolutions for one image; None if a layer's are unknown.
        read_ms, network_ms, nms_ms: milliseconds per image: waiting until it is read, decoded and resized;
            the network; from its outputs to detections.
        memory_mib: peak resident memory that building and running it added to that of TensorFlow, MiB, sampled.
        images: how many were timed.
        map: mean average precision; None for random weights.
    """

    name: str
    backbone: str
    image_size: tuple[int, int]
    parameters: int
    macs: int | None
    read_ms: float
    network_ms: float
    nms_ms: float
    memory_mib: float
    images: int
    map: float | None

    @property
    def latency_ms(self) -> float:
        """From an image in memory to its detections, ms."""
        return self.network_ms + self.nms_ms


def measure_in_subprocess(candidate: Candidate, images: Images, debug: bool) -> Measured | str:
    """Measures a candidate in a fresh process, so that no memory or threads of the previous one are left.

    With `debug` it prints the traceback of a failure. The process never outlives this one.

    Returns:
        The measurements, or the reason in one line why the candidate could not be measured.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; the process has ended.
    """
    context = multiprocessing.get_context("spawn")
    results, child_end = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(child_end, candidate, images, debug))
    try:
        # The process inherits this: on Ctrl-C a terminal sends SIGINT to it as well.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, previous)
        child_end.close()
        result: Measured | str = results.recv()
        return result
    except EOFError:
        process.join()
        code = process.exitcode or 0
        if code >= 0:
            return f"its process ended with exit code {code}"
        return f"its process was killed by {signal.Signals(-code).name}, probably for lack of memory"
    finally:
        if process.ident:
            process.kill()
            process.join()
        results.close()


def _work(results: Connection, candidate: Candidate, images: Images, debug: bool) -> None:
    """Runs in the subprocess."""
    from ssdcore.system.tensorflow import begin_worker

    begin_worker()
    try:
        results.send(_measure(candidate, images))
    except Exception as error:  # whatever a plugin raises must not stop the others
        if debug:
            traceback.print_exc()
        text = " ".join(str(error).split())
        results.send(text if isinstance(error, SsdError) else f"{type(error).__name__}: {text:.300}")


def _measure(candidate: Candidate, images: Images) -> Measured:
    from ssdcore.contract.plugins import load_plugins
    from ssdcore.evaluation.evaluate import Evaluator
    from ssdcore.model import build_ssd
    from ssdcore.model.end_points import network_macs
    from ssdcore.runs.checkpoint import assign_weights, load_checkpoint
    from ssdcore.system.memory import PeakMemory

    params = candidate.params
    with PeakMemory() as memory:
        ssd = build_ssd(params, candidate.classes, load_plugins())
        if candidate.checkpoint:
            assign_weights(ssd, load_checkpoint(candidate.checkpoint))
        result = Evaluator(ssd, images.data, images.split, params.eval, images.max_images).run()
    speed = result.speed.as_dict() if result.speed else {}
    return Measured(
        name=candidate.name,
        backbone=params.backbone,
        image_size=params.model.image_size,
        parameters=ssd.network.count_params(),
        macs=network_macs(ssd.network),
        **{key: speed[key] for key in ("read_ms", "network_ms", "nms_ms")},
        memory_mib=round((memory.peak - memory.start) / 2**20, 1),
        images=result.images,
        map=result.mean_average_precision if candidate.checkpoint else None,
    )
