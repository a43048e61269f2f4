"""`ssd anchors`: how well default boxes cover the objects of a data set, and a better set."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssdcli.options import PathOption, Program, overrides, pass_program
from ssdcli.output import Bar, print_json, print_table, progress_bar
from ssdcore.contract.plugins import param_set
from ssdcore.errors import DataError, ParamError
from ssdcore.files import write_atomic
from ssdcore.params import ParamSet
from ssdcore.system.tensorflow import load_tensorflow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ssdcore.geometry.propose import Proposal
    from ssdcore.model import SSD

    Objects = tuple[NDArray[np.float32], NDArray[np.int32]]

SEARCHED = ("min_sizes", "max_sizes", "aspect_ratios")


@click.command()
@click.argument("data", type=PathOption)
@click.option("--params", "name", required=True, help="Param set, or a YAML file (ssd params list).")
@click.option("--split", help="Split to analyse. Default: the training split.")
@click.option("--plot", type=PathOption, help="Image file to create: a plot of all widths and heights (.png).")
@click.option("--write", "target", type=PathOption, help="YAML file to create: the param set with the proposed boxes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@overrides
@pass_program
def anchors(
    program: Program,
    *,
    data: Path,
    name: str,
    split: str | None,
    plot: Path | None,
    target: Path | None,
    as_json: bool,
    assignments: tuple[str, ...],
) -> None:
    """Compare default boxes with the objects in a data set, and propose better ones.

    DATA is a folder made by `ssd data convert`. An object counts for recall if some default box
    overlaps it by train.loss.match_iou; each other object has one forced match only. Objects are
    those used for training, before augmentation; sizes are px of the network input.
    """
    params = param_set(name, *assignments, plugins=program.plugins)
    program.plugins.backbone(params.backbone)
    _check_outputs(plot, target)
    load_tensorflow()
    from ssdcore.data.records.manifest import Manifest
    from ssdcore.geometry.propose import propose
    from ssdcore.model import build_ssd

    manifest = Manifest.load(data)
    chosen = manifest.train_split(split or params.data.train_split)
    with progress_bar("reading") as bar:
        objects = _read_objects(data, chosen, params, bar)
    if not len(objects[0]):
        raise DataError(f"the split {chosen!r} of {data.absolute()} holds no objects to train on")
    ssd = build_ssd(params, manifest.classes, program.plugins)
    maps, match_iou = [size for _, size in ssd.feature_maps], params.train.loss.match_iou
    proposal = propose(objects[0], params.model.default_boxes, params.model.image_size, maps, match_iou)
    report = {"data": str(data), "split": chosen, "params": name, **_report(objects, ssd, proposal, match_iou)}
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    if plot:
        _draw(plot, objects, params, proposal)
        click.echo(f"widths and heights: {plot}", err=True)
    if target and proposal.improves:
        model = params.model.model_copy(update={"default_boxes": proposal.default_boxes})
        write_atomic(target, params.model_copy(update={"model": model}).to_yaml().encode(), ParamError)
        click.echo(f"wrote {target}; next: ssd train --params {target}", err=True)
    elif target:
        click.echo(f"no better default boxes were found: {target} was not written", err=True)


def _check_outputs(plot: Path | None, target: Path | None) -> None:
    if plot and plot.suffix != ".png":
        raise ParamError(f"--plot names an image, a file ending in .png, not {plot}")
    if target and target.exists():
        raise ParamError(f"{target.absolute()} exists already; choose another --write")
    for path in (plot, target):
        if path and not path.parent.is_dir():
            raise ParamError(f"there is no folder {path.parent.absolute()} to write {path.name} into; make it first")


def _read_objects(folder: Path, split: str, params: ParamSet, bar: Bar) -> "Objects":
    """Boxes (N, 4), normalised xyxy in the network input, and labels (N,) of the objects to train on."""
    import numpy as np

    from ssdcore.data.pipeline import iterate, read_records, training_boxes
    from ssdcore.data.records.manifest import Manifest

    total = Manifest.load(folder).split(split).images
    boxes, labels = [np.empty((0, 4), np.float32)], [np.empty(0, np.int32)]
    stream = training_boxes(read_records(folder, split), params.model.image_size, params.data)
    for done, (of_image, classes) in enumerate(iterate(stream, folder, split), start=1):
        boxes.append(of_image.numpy())
        labels.append(classes.numpy())
        bar.update(done, total)
    return np.concatenate(boxes), np.concatenate(labels)


def _report(objects: "Objects", ssd: "SSD", proposal: "Proposal", match_iou: float) -> dict[str, Any]:
    """Plain values: recall of the current set by class and by size, the best layers, and the proposal."""
    from ssdcore.geometry.recall import BAND_NAMES, size_bands

    (boxes, labels), model, before = objects, ssd.model, proposal.before
    bands = size_bands(boxes, model.image_size)
    cells = [height * width for _, (height, width) in ssd.feature_maps]
    counts = [area * each for area, each in zip(cells, model.default_boxes.boxes_per_cell(), strict=True)]
    served = zip(ssd.feature_maps, before.per_layer(counts), strict=True)
    masks = {name: labels == index for index, name in enumerate(ssd.classes, start=1)}
    sizes = {name: bands == index for index, name in enumerate(BAND_NAMES)}
    spec = proposal.default_boxes.model_dump(mode="json")
    lines = [f"model.default_boxes.{key}={json.dumps(spec[key], separators=(',', ':'))}" for key in SEARCHED]
    after = {**proposal.after.recall(match_iou)._asdict(), "default_boxes": spec, "overrides": lines}
    return {
        "match_iou": match_iou,
        "all": before.recall(match_iou)._asdict(),
        "classes": {name: before.recall(match_iou, mask)._asdict() for name, mask in masks.items() if mask.any()},
        "sizes": {name: before.recall(match_iou, mask)._asdict() for name, mask in sizes.items() if mask.any()},
        "layers": [{"name": name, "map": list(size), "objects": count} for (name, size), count in served],
        "proposal": after if proposal.improves else None,
    }


def _print_report(report: dict[str, Any]) -> None:
    columns = ("objects", f"recall (IoU {report['match_iou']:g})", "mean best IoU")
    for title, groups in (("class", report["classes"]), ("size, px", report["sizes"])):
        rows = [(name, *_cells(one)) for name, one in groups.items()]
        print_table((title, *columns), [*rows, ("all", *_cells(report["all"]))])
    layers = [(one["name"], "x".join(map(str, one["map"])), str(one["objects"])) for one in report["layers"]]
    print_table(("prediction layer", "map", "best for objects"), layers)
    before, after = report["all"], report["proposal"]
    if after is None:
        click.echo("no better default boxes were found")
        return
    click.echo(
        f"proposed default boxes: recall {_percent(before['recall'])} -> {_percent(after['recall'])}, "
        f"mean best IoU {before['mean_iou']:.3f} -> {after['mean_iou']:.3f}; as overrides:"
    )
    for line in after["overrides"]:
        click.echo(f'"{line}"')


def _cells(one: dict[str, Any]) -> tuple[str, str, str]:
    return str(one["objects"]), _percent(one["recall"]), f"{one['mean_iou']:.3f}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _draw(path: Path, objects: "Objects", params: ParamSet, proposal: "Proposal") -> None:
    """Widths and heights of objects and of default boxes, px of the network input, on logarithmic axes."""
    import numpy as np
    from matplotlib.figure import Figure

    from ssdcore.geometry.default_boxes import cell_sizes
    from ssdcore.geometry.recall import sizes_px

    match_iou = params.train.loss.match_iou
    before, after = (one.recall(match_iou).recall for one in (proposal.before, proposal.after))
    truth = sizes_px(objects[0], params.model.image_size)
    old, new = (np.concatenate(cell_sizes(spec)) for spec in (params.model.default_boxes, proposal.default_boxes))
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(truth[:, 0], truth[:, 1], s=6, alpha=0.3, color="0.5", linewidths=0, label=f"{len(truth)} objects")
    label = f"current default boxes, recall {_percent(before)}"
    axes.scatter(old[:, 0], old[:, 1], s=70, marker="s", color="none", edgecolors="#d55e00", zorder=3, label=label)
    if proposal.improves:
        label = f"proposed default boxes, recall {_percent(after)}"
        axes.scatter(new[:, 0], new[:, 1], s=70, marker="D", color="#0072b2", edgecolors="w", zorder=3, label=label)
    sizes = np.concatenate([truth, old, new])
    low, high = 0.8 * sizes.min(), 1.25 * sizes.max()
    ticks = [2**power for power in range(13) if low <= 2**power <= high]
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set(xlabel="width, px of the network input", ylabel="height, px of the network input")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.plot([low, high], [low, high], color="0.8", linewidth=1, zorder=0)
    axes.set_axisbelow(True)
    axes.grid(color="0.93")
    axes.legend(loc="upper left", framealpha=1, markerscale=0.9)
    image = io.BytesIO()
    figure.savefig(image, dpi=120)
    write_atomic(path, image.getvalue(), DataError)
