"""The command line of `ssd detect`."""

import sys
from pathlib import Path

import click

from ssdcli.detect.request import DEFAULT_FORMATS, FORMATS, DetectRequest, Thresholds, parse_thresholds
from ssdcli.options import PathOption, Program, pass_program
from ssdcore.errors import DataError
from ssdcore.system.tensorflow import load_tensorflow


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
    out: Path,
    formats: tuple[str, ...],
    thresholds: Thresholds,
    batch: int,
    tile: int | None,
    overlap: float | None,
    show: bool,
) -> None:
    """Detect objects in images, videos, cameras and streams.

    MODEL is a run folder or a checkpoint. A SOURCE is an image or video, a folder of such, a glob in quotes, the
    number of a camera, the URL of a stream, or - for a list of paths on standard input. What cannot be
    read is reported and skipped; the exit code is then 1.
    """
    if overlap is not None and tile is None:
        raise click.UsageError("--overlap is for --tile.")
    from ssdcli.detect.sources import find_sources

    found = find_sources(sources, sys.stdin)
    load_tensorflow()
    from ssdcli.detect.loop import detect_sources
    from ssdcli.detect.tiles import OVERLAP, TiledDetector
    from ssdcore import load_detector

    detector = load_detector(model, thresholds.least, program.plugins, batch)
    tiled = TiledDetector(detector, tile, OVERLAP if overlap is None else overlap) if tile else detector
    unreadable = detect_sources(tiled, found, DetectRequest(out, formats, thresholds, batch, show))
    click.echo(f"{out}: {', '.join(dict.fromkeys(formats))} of {len(found) - unreadable} of {len(found)} sources")
    if unreadable:
        kinds = "images" if all(source.kind == "image" for source in found) else "sources"
        raise DataError(f"{unreadable} of {len(found)} {kinds} could not be read; they are named above")
