"""What one detector costs on this machine, measured in a process of its own."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ssdcore.params import ParamSet

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Candidate:
    """A detector to measure.

    Attributes:
        name: to show.
        params: what to build.
        classes: names of its classes.
        checkpoint: its weights; None: random ones, whose findings say nothing.
    """

    name: str
    params: ParamSet
    classes: tuple[str, ...]
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Measured:
    """What a detector costs and finds.

    Attributes:
        name: of the candidate.
        backbone: its backbone.
        image_size: height and width of the network input, px.
        parameters: numbers in its weights file.
        macs: multiplications of its convolutions for one image; None where a layer's are not known.
        read_ms, network_ms, nms_ms: milliseconds for each image: waiting until it is read, decoded and resized;
            the network; from its outputs to detections.
        memory_mib: the most memory that building and running it took beside TensorFlow, MiB; None where the system
            does not tell.
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
    memory_mib: float | None
    images: int
    map: float | None

    @property
    def latency_ms(self) -> float:
        """From an image in memory to its detections, ms."""
        return self.network_ms + self.nms_ms


def measure(candidate: Candidate, data: Path, split: str, max_images: int | None) -> Measured:
    """Runs a detector over images; call it in a fresh process, whose memory is its own.

    Raises:
        SsdError: it cannot be built, or does not fit the data.
    """
    from ssdcore.contract.plugins import load_plugins
    from ssdcore.evaluation import Evaluator
    from ssdcore.model import build_ssd
    from ssdcore.model.end_points import network_macs
    from ssdcore.runs.checkpoint import assign_weights, load_checkpoint

    before = _most_memory()
    ssd = build_ssd(candidate.params, candidate.classes, load_plugins())
    if candidate.checkpoint:
        assign_weights(ssd, load_checkpoint(candidate.checkpoint))
    result = Evaluator(ssd, data, split, candidate.params.eval, max_images).run()
    each = result.speed.as_dict() if result.speed else {}
    after = _most_memory()
    return Measured(
        name=candidate.name,
        backbone=candidate.params.backbone,
        image_size=candidate.params.model.image_size,
        parameters=ssd.network.count_params(),
        macs=network_macs(ssd.network),
        read_ms=each["read_ms"],
        network_ms=each["network_ms"],
        nms_ms=each["nms_ms"],
        memory_mib=None if before is None or after is None else round((after - before) / 2**20, 1),
        images=result.images,
        map=result.mean_average_precision if candidate.checkpoint else None,
    )


def _most_memory() -> int | None:
    """The most bytes that this process has held at a time; None where the system does not tell.

    Not by `getrusage` on Linux, where it begins with what the process that started this one held.
    """
    if STATUS.exists():
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text("ascii"), re.MULTILINE)
        return 1024 * int(peak[1]) if peak else None
    if sys.platform != "darwin":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
