"""`ssd backbones endpoints`: end points of a base net, and which SSD models they fit."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import takewhile
from typing import TYPE_CHECKING

import click

from ssdcli.options import Program, pass_program
from ssdcli.output import print_json, print_table
from ssdcore.params import ModelParams
from ssdcore.params.presets import MODELS
from ssdcore.system.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from ssdcore.model.end_points import EndPoint

COLUMNS = ("end point", "cells", "channels", "stride", "sees, px", "parameters", "million MACs")


@click.command()
@click.argument("name")
@click.option("--image-size", default=300, show_default=True, type=click.IntRange(32, 4096), help="Side, px.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_program
def endpoints(program: Program, name: str, image_size: int, as_json: bool) -> None:
    """List the end points of a backbone: size, receptive field, cost, and which SSD models they fit.

    Parameters and MACs (multiplications of convolutions and matrix products for one image) are those up to the end
    point. Receptive fields are measured by gradients. What cannot be determined is shown as "?". The backbone needs
    no feature layers yet.
    """
    backbone = program.plugins.backbone(name)
    load_tensorflow()
    from ssdcore.model.end_points import base_net_end_points

    found = base_net_end_points(backbone, image_size)
    models = [model for model in (make() for make in MODELS.values()) if model.image_size == (image_size, image_size)]
    chosen = {model.name: program.plugins.feature_layers(name, model.name) for model in models}
    uses = {model.name: [_use(one, chosen[model.name], model) for one in found] for model in models}
    if as_json:
        described = [asdict(one) | {model: use[at] for model, use in uses.items()} for at, one in enumerate(found)]
        print_json({"backbone": name, "image_size": image_size, "end_points": described})
        return
    rows = [(*_row(one), *(use[at] for use in uses.values())) for at, one in enumerate(found)]
    print_table((*COLUMNS, *uses), rows)
    for model in models:
        click.echo(_advice(found, chosen[model.name], model))
    if not models:
        sizes = ", ".join(f"{make().name} {make().image_size[0]}" for make in MODELS.values())
        click.echo(f"no SSD model of the core is for images of {image_size} px ({sizes})")


def _row(one: "EndPoint") -> tuple[str, ...]:
    field = "everything" if one.sees_everything else str(one.receptive_field or "?")
    cells = f"{one.size[0]}x{one.size[1]}"
    macs = "?" if one.macs is None else f"{one.macs / 1e6:,.1f}"
    return one.name, cells, str(one.channels), str(one.stride), field, f"{one.parameters:,}", macs


def _use(one: "EndPoint", chosen: Sequence[str], model: ModelParams) -> str:
    """How a model uses an end point, or could."""
    wanted = model.feature_maps or ()
    if one.name in chosen:
        return f"feature layer {chosen.index(one.name) + 1}"
    if one.size[0] != one.size[1] or one.size[0] not in wanted:
        return "wrong size"
    return f"fits as {wanted.index(one.size[0]) + 1}"


def _advice(found: Sequence["EndPoint"], chosen: Sequence[str], model: ModelParams) -> str:
    """The maps a model needs, and feature layers that a plugin could name if none does."""
    wanted = model.feature_maps or ()
    text = f"{model.name} wants maps of {', '.join(map(str, wanted))} cells"
    blocks, least = len(model.blocks), len(wanted) - len(model.blocks)
    too_few = f"cannot feed it: its own blocks supply {blocks}, so name {least} feature layers or none"
    if len(chosen) >= max(least, 1):
        return f"{text} and takes {', '.join(chosen)}; its own blocks supply the rest"
    if chosen:
        return f"{text}; {', '.join(chosen)} {too_few}"
    deepest = {one.size[0]: one.name for one in found if one.size[0] == one.size[1]}
    proposal = [deepest[side] for side in takewhile(deepest.__contains__, wanted)]
    if proposal and len(proposal) < least:
        return f"{text}; no end point has {wanted[len(proposal)]}, and {', '.join(proposal)} {too_few}"
    if proposal:
        return f"{text}; no plugin names feature layers: return {proposal!r} from ssdcore_feature_layers"
    nearest = min(found, key=lambda one: abs(one.size[0] - wanted[0]))
    return (
        f"{text}; no end point has {wanted[0]}, the nearest is {nearest.name} with {nearest.size[0]}: "
        'a side of n must become n / 2, rounded up, at each stride (padding="same"), up to a stride of '
        f"{round(model.image_size[0] / wanted[0])}"
    )
