"""`ssd compare`: measure backbones and runs, print them as a table, write CSV and a plot."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from ssdcli.compare.apart import Images, measure_apart
from ssdcli.compare.candidates import find_candidates
from ssdcli.compare.files import PLOT, TABLE, prepare, write
from ssdcli.compare.measure import Candidate, Measured
from ssdcli.options import PathOption, Program, pass_program
from ssdcli.output import print_json, print_table, progress_bar
from ssdcore.errors import ModelError
from ssdcore.params.presets import MODELS

COLUMNS = ("detector", "image, px", "million parameters", "billion MACs", "read, ms", "network, ms", "NMS, ms", "MiB")


@click.command()
@click.argument("names", nargs=-1, metavar="[BACKBONE|RUN]...")
@click.option("--data", required=True, type=PathOption, help="Folder of records (ssd data convert).")
@click.option("--split", help="Split to run on. Default: test or val.")
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Choice(list(MODELS)),
    default=["ssd300"],
    show_default=True,
    help="SSD model to put on a backbone; may be repeated.",
)
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), help="Images at a time.")
@click.option("--max-images", "--max-pictures", "max_images", type=click.IntRange(1), help="The first so many only.")
@click.option("--out", type=PathOption, help="Folder to make for compare.csv and compare.png.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_program
def compare(
    program: Program,
    names: tuple[str, ...],
    *,
    data: Path,
    split: str | None,
    models: tuple[str, ...],
    batch: int,
    max_images: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure backbones and trained runs on this machine.

    A BACKBONE gets the SSD models and random weights, whose speed is that of trained ones but for NMS, which
    works on more boxes; a RUN (or checkpoint) is scored as well. Without names all installed backbones that have
    feature layers for a --model are measured. Each is measured in a process of its own; one that fails is left out.
    """
    from ssdcore.data.records.manifest import Manifest

    manifest = Manifest.load(data)
    images = Images(data, manifest.eval_split(split, ""), max_images)
    candidates = find_candidates(names, models, program.plugins, manifest.classes, batch)
    if out:
        prepare(out)
    found = _measure_all(candidates, images, program.debug)
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        _print(found)
    if out and found:
        write(found, out)
        if not as_json:
            click.echo(f"{out / TABLE} and {out / PLOT} hold the same")
    _require_all(found, candidates)


def _measure_all(candidates: Sequence[Candidate], images: Images, debug: bool) -> list[Measured]:
    """Measures one after the other; one that fails is named, and the others go on."""
    found = []
    with progress_bar("measuring") as bar:
        for done, candidate in enumerate(candidates):
            bar.update(done, len(candidates), candidate.name)
            one = measure_apart(candidate, images, debug)
            if isinstance(one, Measured):
                found.append(one)
            else:
                click.echo(f"warning: {one.name} could not be measured: {one.reason}", err=True)
        bar.update(len(candidates), len(candidates))
    return found


def _require_all(found: Sequence[Measured], candidates: Sequence[Candidate]) -> None:
    """Makes the program fail where a candidate did.

    Raises:
        ModelError: one did.
    """
    left_out = [one.name for one in candidates if one.name not in {other.name for other in found}]
    if left_out:
        raise ModelError(
            f"{len(left_out)} of {len(candidates)} detectors could not be measured ({', '.join(left_out)}); the "
            "warnings say why, 'ssd --debug compare ...' shows where"
        )


def _print(found: Sequence[Measured]) -> None:
    rows = [(*_row(one), "-" if one.map is None else f"{one.map:.4f}") for one in found]
    print_table((*COLUMNS, "mAP"), rows)


def _row(one: Measured) -> tuple[str, ...]:
    size = f"{one.image_size[0]}x{one.image_size[1]}"
    milliseconds = (f"{value:.1f}" for value in (one.read_ms, one.network_ms, one.nms_ms))
    macs = "?" if one.macs is None else f"{one.macs / 1e9:.2f}"
    memory = "?" if one.memory_mib is None else f"{one.memory_mib:.0f}"
    return one.name, size, f"{one.parameters / 1e6:.2f}", macs, *milliseconds, memory
