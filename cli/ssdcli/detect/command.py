"""The command line of `ssd detect`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from ssdcli.options import PathOption, Program, pass_program
from ssdcore.detection import Detections
from ssdcore.errors import DataError, did_you_mean
from ssdcore.system.tensorflow import load_tensorflow

FORMATS = ("drawn", "json", "jsonl", "csv", "coco", "voc", "crops")
DEFAULT_FORMATS = ("drawn", "json")
DEFAULT_SCORE = 0.5


@dataclass(frozen=True)
class Thresholds:
    """Least scores: one for all classes, and others for some."""

    general: float
    by_class: Mapping[str, float]

    @property
    def least(self) -> float:
        """The lowest of all thresholds."""
        return min([self.general, *self.by_class.values()])

    def check(self, classes: Sequence[str]) -> None:
        """Raises DataError if a class is not one of the model's."""
        for name in self.by_class:
            if name not in classes:
                raise DataError(f"--score {name}=…: the model has no class {name!r}; {did_you_mean(name, classes)}")

    def apply(self, detections: Detections) -> Detections:
        """The detections that score above the threshold of their class."""
        limits = np.array([self.by_class.get(name, self.general) for name in detections.classes], np.float32)
        return detections.above(limits[detections.labels - 1])


@dataclass(frozen=True)
class DetectRequest:
    """The output folder, its formats, score thresholds, images per batch, and whether to show them on the screen."""

    out: Path
    formats: Sequence[str] = DEFAULT_FORMATS
    thresholds: Thresholds = Thresholds(DEFAULT_SCORE, {})
    batch: int = 8
    show: bool = False


def parse_thresholds(context: click.Context, option: click.Parameter, texts: Sequence[str]) -> Thresholds:
    """Parses `0.5` and `CLASS=0.7`; of two for the same class the later one counts."""
    general, by_class = DEFAULT_SCORE, {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        value = _score(number)
        if value is None or bool(equals) != bool(name):
            raise click.BadParameter(f"{text!r} is neither a number from 0 to 1 nor CLASS=NUMBER.", context, option)
        if name:
            by_class[name] = value
        else:
            general = value
    return Thresholds(general, by_class)


def _score(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


@click.command()
@click.argument("model", type=PathOption)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", required=True, type=PathOption, help="Folder for the detections.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=DEFAULT_FORMATS,
    show_default=True,
    type=click.Choice(FORMATS),
    help="What to write; several may be given.",
)
@click.option(
    "--score",
    "thresholds",
    multiple=True,
    metavar="[CLASS=]NUMBER",
    callback=parse_thresholds,
    help="Score threshold, for all classes or for one; several may be given.  [default: 0.5]",
)
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1), help="Images per pass of the network.")
@click.option("--tile", type=click.IntRange(32), help="Split larger images into square tiles of this size (px).")
@click.option(
    "--overlap", type=click.FloatRange(0, 0.9), help="Of neighbouring tiles, a fraction of their size.  [default: 0.25]"
)
@click.option("--show", is_flag=True, help="Show the detections in a window; any key shows the next image, q ends.")
@pass_program
def detect(
    program: Program,
    /,
    *,
    model: Path,
    sources: tuple[str, ...],
    tile: int | None,
    overlap: float | None,
    **options: Any,
) -> None:
    """Detect objects in images, videos, cameras and streams.

    MODEL is a run folder or a checkpoint. A SOURCE is an image or video, a folder of such, a glob in quotes, the
    number of a camera, the URL of a stream, or - for a list of paths on standard input. What cannot be
    read is reported and skipped; the exit code is then 1.
    """
    if overlap is not None and tile is None:
        raise click.UsageError("--overlap is for --tile.")
    from ssdcli.detect.sources import find_sources

    request, found = DetectRequest(**options), find_sources(sources, sys.stdin)
    load_tensorflow()
    from ssdcli.detect.loop import detect_sources
    from ssdcli.detect.tiles import OVERLAP, TiledDetector
    from ssdcore import load_detector

    detector = load_detector(model, request.thresholds.least, program.plugins, request.batch)
    tiled = TiledDetector(detector, tile, OVERLAP if overlap is None else overlap) if tile else detector
    unreadable, count = detect_sources(tiled, found, request), len(found)
    click.echo(f"{request.out}: {', '.join(dict.fromkeys(request.formats))} of {count - unreadable} of {count} sources")
    if unreadable:
        kinds = "images" if all(source.kind == "image" for source in found) else "sources"
        raise DataError(f"{unreadable} of {count} {kinds} could not be read; they are named above")
