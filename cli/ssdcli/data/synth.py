"""`ssd data synth`: a data set of drawn shapes."""

from pathlib import Path

import click

from ssdcli.options import PathOption
from ssdcli.output import progress_bar
from ssdcore.system.tensorflow import load_tensorflow


@click.command()
@click.argument("out", type=PathOption)
@click.option("--trainval", default=400, type=click.IntRange(1), show_default=True, help="Training images.")
@click.option("--test", default=100, type=click.IntRange(1), show_default=True, help="Test images.")
@click.option(
    "--seed", default=0, type=click.IntRange(0), show_default=True, help="The same seed draws the same images."
)
def synth(out: Path, trainval: int, test: int, seed: int) -> None:
    """Draw a labelled set of coloured shapes in Pascal VOC layout."""
    load_tensorflow()
    from ssdcore.data.synth import synthesize

    with progress_bar("drawing") as bar:
        synthesize(out, trainval, test, seed, bar.update)
    click.echo(f"{trainval} training and {test} test images are in {out}")
