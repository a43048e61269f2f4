"""`ssd data`: make and convert labelled pictures."""

from pathlib import Path

import click

from ssdcli.options import PathOption, class_names, load_tensorflow
from ssdcli.output import print_table, progress_bar


@click.group()
def data() -> None:
    """Make and convert labelled pictures."""


@data.command()
@click.argument("source", type=PathOption)
@click.option("--out", required=True, type=PathOption, help="Folder of records to make.")
@click.option("--classes", help="Class names in order, a,b,c; without it they are collected from the data.")
@click.option("--split", "splits", multiple=True, help="A split to convert; may be repeated. Default: all.")
def convert(source: Path, out: Path, classes: str | None, splits: tuple[str, ...]) -> None:
    """Convert a Pascal VOC folder to TFRecords.

    SOURCE holds Annotations/, JPEGImages/ and ImageSets/Main/.
    """
    load_tensorflow()
    from ssdcore.data.convert import convert_voc

    with progress_bar("converting") as bar:
        manifest = convert_voc(
            source, out, class_names(classes), splits or None, lambda split, done, total: bar.update(done, total, split)
        )
    rows = [(name, str(split.images), str(split.objects)) for name, split in manifest.splits.items()]
    print_table(("split", "pictures", "boxes"), rows)
    click.echo(f"classes: {', '.join(manifest.classes)}")
    click.echo(f"boxes dropped: {len(manifest.dropped)}")
    for fault in manifest.dropped:
        click.echo(f"  {fault}")


@data.command()
@click.argument("out", type=PathOption)
@click.option("--trainval", default=400, type=click.IntRange(1), show_default=True, help="Pictures to learn from.")
@click.option("--test", default=100, type=click.IntRange(1), show_default=True, help="Pictures to test on.")
@click.option(
    "--seed", default=0, type=click.IntRange(0), show_default=True, help="The same seed draws the same pictures."
)
def synth(out: Path, trainval: int, test: int, seed: int) -> None:
    """Draw a labelled set of coloured shapes in Pascal VOC layout."""
    load_tensorflow()
    from ssdcore.data.synth import synthesize

    with progress_bar("drawing") as bar:
        synthesize(out, trainval, test, seed, bar.update)
    click.echo(f"{trainval} pictures to learn from and {test} to test on are in {out}")
