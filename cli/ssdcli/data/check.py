"""`ssd data check`: what is wrong with labelled images."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssdcli.options import PathOption, class_names
from ssdcli.output import print_json, print_table, progress_bar
from ssdcore.data.annotations import ISSUE_KINDS
from ssdcore.data.records.manifest import Manifest
from ssdcore.errors import DataError
from ssdcore.system.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from ssdcore.data.validation import CheckReport

LISTED = 10
"""Issues of each kind that are printed; --json has all."""

images_option = click.option(
    "--images", "--pictures", "images", type=PathOption, help="Folder of the images, if not near the annotations."
)


@click.command()
@click.argument("source", type=PathOption)
@images_option
@click.option("--classes", help="Allowed classes, a,b,c. Default: the format's, or any.")
@click.option("--page", type=PathOption, help="Image file to draw the worst issues into (.png or .jpg).")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--strict", is_flag=True, help="Exit with 1 if anything is wrong.")
def check(
    source: Path, *, images: Path | None, classes: str | None, page: Path | None, as_json: bool, strict: bool
) -> None:
    """Find what is wrong with labelled images before training.

    SOURCE is what `ssd data convert` takes, or a folder of records that it made. Every image is
    decoded completely.
    """
    load_tensorflow()
    if (source / "manifest.json").is_file():
        if altered := Manifest.load(source).altered_shards(source):
            raise DataError(f"{source.absolute()}: {'; '.join(altered)}; convert the data again")
        click.echo(f"{source}: all shards match the manifest")
        return
    from ssdcore.data.formats import read_labelled
    from ssdcore.data.validation import check as check_set

    labelled = read_labelled(source, images)
    with progress_bar("checking") as bar:
        report = check_set(labelled, class_names(classes), bar.update)
    if page:
        from ssdcli.data.contact_sheet import faulty_tiles, write_sheet

        if tiles := faulty_tiles(labelled, report):
            write_sheet(tiles, page)
            click.echo(f"images with faulty boxes: {page}", err=True)
        else:
            click.echo("no issue concerns a box that could be drawn; no page was made", err=True)
    if as_json:
        print_json(report.as_dict())
    else:
        _print_report(report)
    if strict and report.issues:
        sys.exit(1)


def _print_report(report: "CheckReport") -> None:
    columns = ("split", "images", "without objects", "objects", "difficult", "crowd", "side 5/50/95 %")
    rows = []
    for name, split in report.splits.items():
        sides = " ".join(f"{side:.3f}" for side in split.sides) if split.sides else "-"
        counts = (split.images, split.without_objects, split.objects, split.difficult, split.crowd)
        rows.append((name, *map(str, counts), sides))
    print_table(columns, rows)
    classes = sorted({name for split in report.splits.values() for name in split.per_class})
    per_class = [(name, *(str(split.per_class.get(name, 0)) for split in report.splits.values())) for name in classes]
    print_table(("objects of class", *report.splits), per_class)
    for kind, count in report.counts().items():
        click.echo(f"{kind}: {count}  ({ISSUE_KINDS[kind].advice})")
        found = [issue for issue in report.issues if issue.kind == kind]
        for issue in found[:LISTED]:
            click.echo(f"  {issue.file}: {issue.location}{issue.detail}")
        if count > LISTED:
            click.echo(f"  and {count - LISTED} more; --json lists all")
    click.echo("no issues" if not report.issues else f"{len(report.issues)} issues in {report.format} data")
