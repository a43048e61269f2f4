"""`ssd data show`: images as the network sees them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssdcli.options import PathOption, Program, overrides, pass_program
from ssdcore.contract.plugins import param_set
from ssdcore.params import ParamSet
from ssdcore.system.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from ssdcli.data.contact_sheet import Tile
    from ssdcore.model import SSD

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
    from ssdcli.data.contact_sheet import write_sheet
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
        for tile in _row(record, ssd, params, (seed, number))
    ]
    write_sheet(tiles, out, columns=VARIANTS + 2)
    click.echo(f"{len(tiles) // (VARIANTS + 2)} images of {chosen!r}: {out}")


def _row(serialized: Any, ssd: "SSD", params: ParamSet, seed: tuple[int, int]) -> list["Tile"]:
    """The original image, with its matched default boxes, and augmented."""
    import tensorflow as tf

    from ssdcli.data.contact_sheet import draw_tile
    from ssdcore.data.augment.chain import augment
    from ssdcore.data.records.record import decode, parse
    from ssdcore.data.resize import resize_image
    from ssdcore.geometry.boxes import to_window_xyxy

    record = parse(serialized)
    size = ssd.model.image_size
    image, boxes, labels = decode(record["image"]), record["boxes"], record["labels"]
    title = record["name"].numpy().decode()
    resized, window = resize_image(image, size, params.data.resize)
    tiles = [
        draw_tile(image.numpy(), boxes.numpy(), *_texts(ssd, labels), title=title),
        _matched_tile(resized, to_window_xyxy(boxes, window), ssd, params.train.loss.match_iou),
    ]
    for variant in range(VARIANTS):
        draw = tf.constant([seed[0] * 1000 + seed[1], variant], tf.int32)
        changed = augment(image, boxes, labels, draw, params.augment, size, params.data.resize)
        changed_image, kept = tf.cast(changed[0], tf.uint8).numpy(), changed[1].numpy()
        tiles.append(draw_tile(changed_image, kept, *_texts(ssd, changed[2]), title=f"augmented {variant + 1}"))
    return tiles


def _texts(ssd: "SSD", labels: Any) -> tuple[list[str], list[Any]]:
    """Class names, and a colour for each class."""
    from ssdcli.draw import COLOURS

    ids = [int(label) for label in labels]
    return [ssd.classes[number - 1] for number in ids], [COLOURS.by_idx(number - 1) for number in ids]


def _matched_tile(resized: Any, boxes: Any, ssd: "SSD", match_iou: float) -> "Tile":
    """The matched default boxes, each in its object's colour."""
    import numpy as np
    import tensorflow as tf

    from ssdcli.data.contact_sheet import draw_tile
    from ssdcli.draw import COLOURS
    from ssdcore.geometry.matching import match_xyxy

    matched = match_xyxy(boxes, tf.constant(ssd.default_boxes), match_iou).numpy()
    chosen = np.flatnonzero(matched >= 0)
    colours = [COLOURS.by_idx(int(number)) for number in matched[chosen]]
    title = f"{len(chosen)} default boxes for {len(boxes)} objects"
    image = tf.cast(resized, tf.uint8).numpy()
    return draw_tile(image, ssd.default_boxes[chosen].astype(float), [""] * len(chosen), title=title, colours=colours)
