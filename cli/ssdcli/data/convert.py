"""`ssd data convert`: labelled images to TFRecords; `ssd data synth`: a data set of drawn shapes."""

from pathlib import Path

import click

from ssdcli.data.check import images_option
from ssdcli.options import PathOption, class_names
from ssdcli.output import print_table, progress_bar
from ssdcore.system.tensorflow import load_tensorflow

LISTED = 20
"""Dropped boxes and images that are printed; the manifest has all."""


@click.command()
@click.argument("source", type=PathOption)
@click.option("--out", required=True, type=PathOption, help="Folder of records to make.")
@images_option
@click.option("--classes", help="Class names in order, a,b,c. Default: the format's, or all that occur, sorted.")
@click.option("--only", multiple=True, help="A split of the source to convert (repeatable). Default: all.")
@click.option("--split", "fractions", help="Divide at random: 0.8/0.2 (trainval/test), 0.8/0.1/0.1 (train/val/test).")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the random division.")
@click.option("--skip-faulty", is_flag=True, help="Leave out images that cannot be used, instead of stopping.")
@click.option("--workers", type=click.IntRange(1), help="Processes. Default: all cores, for many images.")
def convert(
    source: Path,
    *,
    out: Path,
    images: Path | None,
    classes: str | None,
    only: tuple[str, ...],
    fractions: str | None,
    seed: int,
    skip_faulty: bool,
    workers: int | None,
) -> None:
    """Convert labelled images to TFRecords.

    SOURCE is a Pascal VOC folder (or a devkit of several years), a folder of XML files beside their
    images, a COCO JSON file or folder, a YOLO data.yaml, a CSV file, or a folder of TFRecords of
    other projects. A stopped conversion resumes when it is started again.
    """
    load_tensorflow()
    from ssdcore.data.convert import choose_splits, convert
    from ssdcore.data.formats import read_labelled
    from ssdcore.data.splits import divide, parse_fractions

    labelled = read_labelled(source, images)
    if only:
        labelled = choose_splits(labelled, only)
    if fractions:
        labelled = divide(labelled, parse_fractions(fractions), seed)
    with progress_bar("converting") as bar:
        manifest = convert(
            labelled, out, class_names(classes), skip_faulty=skip_faulty, workers=workers, on_progress=bar.update
        )
    rows = [(name, str(split.images), str(split.objects)) for name, split in manifest.splits.items()]
    print_table(("split", "images", "boxes kept"), rows)
    click.echo(f"classes: {', '.join(manifest.classes)}")
    for kind, count in manifest.issues.items():
        click.echo(f"{kind}: {count}")
    click.echo(f"left out: {len(manifest.dropped)}")
    for line in manifest.dropped[:LISTED]:
        click.echo(f"  {line}")
    if len(manifest.dropped) > LISTED:
        click.echo(f"  and {len(manifest.dropped) - LISTED} more, in {out}/manifest.json")


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
