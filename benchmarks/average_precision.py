"""How long do scores take, and how much memory? VOC's and COCO's metric on as many images as VOC 2007 tests.

    python benchmarks/average_precision.py [--images 4952] [--detections 200] [--classes 20]

Measured in turn, each in a process of its own that draws the same images: VOC's mean average precision;
the same from VOC's result files, with reading them; COCO's metric by pycocotools. Memory is the most
that the process ever had (VmHWM), with Python, libraries and the drawn detections.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from ssdcore.data.records.ground_truth import GroundTruth
from ssdcore.detection import Detections
from ssdcore.evaluation.read_results import read_results
from ssdcore.evaluation.scores import Tally
from ssdcore.evaluation.write_results import write_results
from ssdcore.params import EvalParams

SIZE = np.array([500.0, 375.0])
OBJECTS = 5  # at most, of an image; VOC 2007 has 2.4 on average
NEAR = 8  # detections of each object, px off by as much


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes (N, 4) xyxy, px, anywhere in an image."""
    corners = rng.uniform(0, 1, (2, count, 2)) * SIZE
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)], axis=1)


def truths(arguments: argparse.Namespace) -> list[GroundTruth]:
    """Images with objects, a tenth of them difficult."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(arguments.images):
        count = rng.integers(0, OBJECTS + 1)
        labels = rng.integers(1, arguments.classes + 1, count)
        difficult = rng.random(count) < 0.1
        found.append(
            GroundTruth(f"{number:06}", (375, 500), boxes(rng, count).round(), labels, difficult, np.zeros(count, bool))
        )
    return found


def detections(arguments: argparse.Namespace, images: list[GroundTruth]) -> Iterator[Detections]:
    """Some near the objects, the rest anywhere."""
    rng = np.random.default_rng(1)
    for truth in images:
        drawn = boxes(rng, arguments.detections)
        labels = rng.integers(1, arguments.classes + 1, arguments.detections)
        near = np.repeat(np.arange(len(truth.labels)), NEAR)[: arguments.detections]
        drawn[: len(near)] = truth.boxes[near] + rng.normal(0, NEAR, (len(near), 4))
        drawn = np.concatenate([np.minimum(drawn[:, :2], drawn[:, 2:]), np.maximum(drawn[:, :2], drawn[:, 2:])], axis=1)
        labels[: len(near)] = truth.labels[near]
        order = rng.random(arguments.detections)
        yield Detections(drawn, order, labels, class_names(arguments))


def class_names(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(f"class{number}" for number in range(arguments.classes))


def measured(arguments: argparse.Namespace, metric: str) -> tuple[float, float, float]:
    """Seconds from the detections to the score by the clock and of the processor, and the score."""
    classes = class_names(arguments)
    images = truths(arguments)
    found = detections(arguments, images)
    if metric == "files":
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            with write_results(out, "test", classes, images) as add:
                for truth, one in zip(images, found, strict=True):
                    add(truth, one)
            return timed(lambda: total(images, from_files(out, images, classes), classes, "voc07"))
    kept = list(found)
    return timed(lambda: total(images, kept, classes, metric))


def from_files(out: Path, images: list[GroundTruth], classes: tuple[str, ...]) -> Iterator[Detections]:
    return (found for found, _ in read_results(out, images, classes).by_image())


def timed(work: Callable[[], float]) -> tuple[float, float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    score = work()
    return time.perf_counter() - wall, time.process_time() - processor, score


def total(images: list[GroundTruth], found: Iterable[Detections], classes: tuple[str, ...], metric: str) -> float:
    tally = Tally(classes, [truth.name for truth in images], EvalParams(metric=metric))
    for truth, one in zip(images, found, strict=True):
        tally.add(truth, one)
    return tally.evaluation(None).mean_average_precision


def peak_memory() -> float:
    """The most memory that this process ever had, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4952)
    parser.add_argument("--detections", type=int, default=200)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--only", choices=("voc07", "files", "coco"), help="measure one, in this process")
    arguments = parser.parse_args()
    if arguments.only:
        print(*measured(arguments, arguments.only), peak_memory())
        return
    first = None
    for name in ("voc07", "files", "coco"):
        done = subprocess.run([sys.executable, *sys.argv, "--only", name], check=True, capture_output=True, text=True)
        wall, processor, score, memory = map(float, done.stdout.split())
        first = first or processor
        print(
            f"{name:6} {wall:6.1f} s, {processor:6.1f} s of the processor, {processor / first:5.1f} x voc07, "
            f"{memory:5.0f} MiB, mAP {score:.6f}"
        )


if __name__ == "__main__":
    main()
