"""`ssd weights`: imports and inspects weights of other frameworks."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ssdcli.options import PathOption, Program, class_names, overrides, pass_program
from ssdcli.output import print_json, print_table
from ssdcore.contract.plugins import param_set
from ssdcore.errors import CheckpointError
from ssdcore.params import WeightsFormat
from ssdcore.system.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from ssdcore.weights import ImportReport

SHOWN = 8
"""Names of each kind printed; --json has all."""


@click.group()
def weights() -> None:
    """Import and inspect weights of Caffe, TensorFlow 1 and Keras Applications, and checkpoints."""


@weights.command("import")
@click.argument("source", type=PathOption)
@click.option("--from", "format", type=click.Choice(get_args(WeightsFormat)), default="auto", show_default=True)
@click.option("--params", "name", required=True, help="Param set of the detector, or a YAML file (ssd params list).")
@click.option("--out", required=True, type=PathOption, help="Checkpoint to write, a .npz file.")
@click.option("--classes", help="Classes of the detector: a,b,c. Default: those of the file.")
@click.option("--partial", is_flag=True, help="Accept a file that lacks variables of the detector.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
@overrides
@pass_program
def import_(
    program: Program,
    *,
    source: Path,
    format: WeightsFormat,
    name: str,
    out: Path,
    classes: str | None,
    partial: bool,
    as_json: bool,
    assignments: tuple[str, ...],
) -> None:
    """Make a checkpoint from weights of another framework.

    SOURCE is a .caffemodel, a TensorFlow checkpoint, a Keras Applications .h5, or one of our
    checkpoints. The result goes into `ssd detect`, `ssd eval` and train.weights. KEY=VALUE replaces
    a value of the param set; train.weights.exclude=[block,conv4_3] leaves variables out.
    """
    params = param_set(name, *assignments, plugins=program.plugins)
    program.plugins.backbone(params.backbone)
    _check_output(out)
    load_tensorflow()
    from ssdcore.runs.checkpoint import save_checkpoint
    from ssdcore.weights import import_weights

    stated = params.train.weights
    partial = partial or stated.partial
    form = stated.format if format == "auto" else format
    wanted = stated.model_copy(update={"file": str(source), "format": form, "partial": partial})
    ssd, report = import_weights(params, program.plugins, wanted, class_names(classes))
    if report.classes and not partial and (holes := report.misfits()):  # only a file of a backbone may have holes
        raise CheckpointError(
            f"{report.path.absolute()} ({report.format}) leaves {len(holes)} variables of the detector without values, "
            f"first: {holes[0]}; give the param set of that network (ssd params list), or accept this (--partial)"
        )
    save_checkpoint(out, ssd, params)
    if as_json:
        print_json({"out": str(out), **report.as_dict()})
    else:
        _print_report(report)
        use = f"ssd detect {out} IMAGES --out found" if report.classes else f"ssd train … train.weights={out}"
        click.echo(f"wrote {out}, {len(ssd.classes)} classes; next: {use}")


def _check_output(out: Path) -> None:
    if out.suffix != ".npz":
        raise CheckpointError(f"--out names a checkpoint, a file ending in .npz, not {out}")
    if out.exists():
        raise CheckpointError(f"{out.absolute()} exists already; choose another --out")
    if not out.parent.is_dir():
        raise CheckpointError(f"there is no folder {out.parent.absolute()} to write {out.name} into; make it first")


def _print_report(report: "ImportReport") -> None:
    kinds = {
        "matched": report.matched,
        "skipped (shape)": [f"{name}: {reason}" for name, reason in report.skipped],
        "missing": report.missing,
        "excluded": report.excluded,
        "unused": report.unused,
    }
    if report.classes:
        kinds |= {f"classes {kind}": getattr(report.classes, kind) for kind in ("kept", "new", "dropped")}
    click.echo(f"{report.path}: {report.format}")
    for kind, names in kinds.items():
        more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        click.echo(f"  {kind:16} {len(names):5}  {', '.join(names[:SHOWN])}{more}".rstrip())
    for note in report.notes:
        click.echo(f"  note: {note}")


@weights.command()
@click.argument("file", type=PathOption)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: Path, as_json: bool) -> None:
    """List the arrays of a weights file: names, shapes, types and norms.

    Caffe's kernels are shown as (height, width, in, out).
    """
    load_tensorflow()
    import numpy as np

    from ssdcore.weights import open_weights

    opened = open_weights(file)
    rows: list[dict[str, Any]] = []
    for name, array in opened.arrays.items():
        norm = float(np.linalg.norm(opened.values(name).astype(np.float64)))
        finite = norm if math.isfinite(norm) else None  # JSON knows no NaN
        rows.append({"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "norm": finite})
    if as_json:
        print_json({"file": str(opened.path), "format": opened.format, "classes": opened.classes, "arrays": rows})
        return
    norms = ["not finite" if row["norm"] is None else f"{row['norm']:.6g}" for row in rows]
    shapes = ["x".join(map(str, row["shape"])) for row in rows]
    cells = [(row["name"], shape, row["dtype"], norm) for row, shape, norm in zip(rows, shapes, norms, strict=True)]
    print_table(("array", "shape", "type", "L2 norm"), cells)
    classes = f", classes: {', '.join(opened.classes)}" if opened.classes else ""
    click.echo(f"{opened.path}: {opened.format}, {len(rows)} arrays{classes}")
