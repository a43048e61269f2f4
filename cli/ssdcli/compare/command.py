"""`ssd compare`: measure backbones and runs, print them as a table, write CSV and a plot."""

import csv
import io
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssdcli.compare.measure import Candidate, Measured, measure
from ssdcli.options import PathOption, Program, load_tensorflow, pass_program
from ssdcli.output import print_json, print_table, progress_bar
from ssdcore.errors import DataError, PluginError
from ssdcore.params import BlockNorm, EvalParams, ParamSet, Stage, TrainParams
from ssdcore.params.presets import MODELS
from ssdcore.plugins import Plugins

if TYPE_CHECKING:
    from ssdcore.data.manifest import Manifest

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
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), help="Pictures at a time.")
@click.option("--max-pictures", type=click.IntRange(1), help="The first so many only.")
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
    max_pictures: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure backbones and trained runs on this machine.

    A BACKBONE gets the SSD models and random weights, whose speed is that of trained ones but for NMS, which
    works on more boxes; a RUN (or checkpoint) is scored as well. Without names all installed backbones are measured.
    Each is measured in a process of its own.
    """
    from ssdcore.data.manifest import Manifest
    from ssdcore.data.output import require_unused

    if out:
        require_unused(out)
    load_tensorflow()
    manifest = Manifest.load(data)
    names = names or _suited(program.plugins, models)
    candidates = list(_candidates(names, models, program.plugins, manifest, batch))
    found = _measure_all(candidates, data, split or manifest.eval_split(None, ""), max_pictures)
    if out:
        _write(found, out)
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        _print(found)
        if out:
            click.echo(f"{out / 'compare.csv'} and {out / 'compare.png'} hold the same")


def _suited(plugins: Plugins, models: Sequence[str]) -> tuple[str, ...]:
    """The backbones that have feature layers for one of the models."""
    return tuple(name for name in plugins.backbones if any(plugins.feature_layers(name, model) for model in models))


def _candidates(
    names: Sequence[str], models: Sequence[str], plugins: Plugins, manifest: "Manifest", batch: int
) -> Iterator[Candidate]:
    """What the names mean.

    Raises:
        PluginError: a name is neither a backbone nor a path, or a backbone suits none of the models.
        CheckpointError: a path holds no checkpoint.
    """
    for name in names:
        if name not in plugins.backbones and Path(name).exists():
            yield _trained(Path(name), batch)
            continue
        _require_backbone(name, plugins)
        suited = [model for model in models if plugins.feature_layers(name, model)]
        if not suited:
            raise PluginError(
                f"{name} has no feature layers for {', '.join(models)}; choose another --model, or leave it out "
                "('ssd backbones list' shows which has which)"
            )
        for model in suited:
            params = _untrained(name, model, batch)
            yield Candidate(f"{name} {model}", params, tuple(manifest.classes))


def _require_backbone(name: str, plugins: Plugins) -> None:
    try:
        plugins.backbone(name)
    except PluginError as error:
        raise PluginError(f"there is no run folder or checkpoint {Path(name).absolute()}, and {error}") from None


def _trained(path: Path, batch: int) -> Candidate:
    from ssdcore.checkpoint import load_checkpoint
    from ssdcore.run_folder import find_checkpoint

    checkpoint = load_checkpoint(find_checkpoint(path))
    params = checkpoint.params.override([f"eval.batch_size={batch}"])
    return Candidate(path.name, params, checkpoint.classes, checkpoint.path)


def _untrained(backbone: str, model: str, batch: int) -> ParamSet:
    """The SSD model on a backbone, its own layers normalised as those of nearly all backbones are."""
    return ParamSet(
        backbone=backbone,
        model=MODELS[model]().model_copy(update={"block_norm": BlockNorm()}),
        train=TrainParams(stages=(Stage(name="none", steps=1),)),
        eval=EvalParams(batch_size=batch),
    )


def _measure_all(candidates: Sequence[Candidate], data: Path, split: str, max_pictures: int | None) -> list[Measured]:
    """Measures one after the other, each in a fresh process, so that none leaves memory or threads to the next."""
    found = []
    with progress_bar("measuring") as bar:
        for done, candidate in enumerate(candidates):
            bar.update(done, len(candidates), candidate.name)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin) as fresh:
                found.append(fresh.submit(measure, candidate, data, split, max_pictures).result())
        bar.update(len(candidates), len(candidates))
    return found


def _begin() -> None:
    from ssdcore.data.workers import begin_worker

    begin_worker()


def _print(found: Sequence[Measured]) -> None:
    rows = [(*_row(one), "-" if one.map is None else f"{one.map:.4f}") for one in found]
    print_table((*COLUMNS, "mAP"), rows)


def _row(one: Measured) -> tuple[str, ...]:
    size = f"{one.image_size[0]}x{one.image_size[1]}"
    milliseconds = (f"{value:.1f}" for value in (one.read_ms, one.network_ms, one.nms_ms))
    memory = "?" if one.memory_mib is None else f"{one.memory_mib:.0f}"
    return one.name, size, f"{one.parameters / 1e6:.2f}", f"{one.macs / 1e9:.2f}", *milliseconds, memory


def _write(found: Sequence[Measured], out: Path) -> None:
    """Writes the table and the plot.

    Raises:
        DataError: that is not possible.
    """
    from ssdcli.compare.plot import draw

    text = io.StringIO()
    rows = [asdict(one) for one in found]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "image_size": "x".join(map(str, row["image_size"]))} for row in rows)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "compare.csv").write_text(text.getvalue(), "utf-8")
        draw(found, out / "compare.png")
    except OSError as error:
        raise DataError(f"cannot write into {out.absolute()}: {error.strerror}") from None
