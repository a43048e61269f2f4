"""`ssd data show`: images as the network sees them."""

from pathlib import Path

import click

from ssdcli.options import PathOption, Program, overrides, pass_program
from ssdcore.contract.plugins import param_set
from ssdcore.system.tensorflow import load_tensorflow

VARIANTS = 2


@click.command()
@click.argument("records", type=PathOption)
@click.option("--params", "name", required=True, help="Param set, or a YAML file (ssd params list).")
@click.option("--out", required=True, type=PathOption, help="Image file to make (.png or .jpg).")
@click.option("--split", help="Split to show. Default: the training split.")
@click.option("--count", default=6, show_default=True, type=click.IntRange(1, 50), help="Images to show.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of choice and augmentation.")
@overrides
@pass_program
def show(
    program: Program,
    *,
    records: Path,
    name: str,
    out: Path,
    split: str | None,
    count: int,
    seed: int,
    assignments: tuple[str, ...],
) -> None:
    """Draw images with their boxes: original, augmented, and with the matched default boxes.

    RECORDS is a folder made by `ssd data convert`. Default boxes are drawn in the colour of the
    object that they are matched to.
    """
    params = param_set(name, *assignments, plugins=program.plugins)
    program.plugins.backbone(params.backbone)
    load_tensorflow()
    from ssdcli.data.contact_sheet import record_tiles, write_sheet
    from ssdcore.data.pipeline import iterate, read_records
    from ssdcore.data.records.manifest import Manifest
    from ssdcore.model import build_ssd

    manifest = Manifest.load(records)
    chosen = manifest.train_split(split or params.data.train_split)
    ssd = build_ssd(params, manifest.classes, program.plugins)
    drawn = read_records(records, chosen).shuffle(1000, seed=seed + 1).take(count)
    tiles = [
        tile
        for number, record in enumerate(iterate(drawn, records, chosen))
        for tile in record_tiles(record, ssd, params, seed * 1000 + number, VARIANTS)
    ]
    write_sheet(tiles, out, columns=VARIANTS + 2)
    click.echo(f"{len(tiles) // (VARIANTS + 2)} images of {chosen!r}: {out}")
