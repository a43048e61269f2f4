"""`ssd compare`: measures backbones and runs, prints them as a table, writes CSV and a plot."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from ssdcli.compare.measure import Candidate, Measured, measure_in_subprocess
from ssdcli.compare.output import PLOT, TABLE, prepare, print_measured, write
from ssdcli.options import Images, PathOption, Program, pass_program
from ssdcli.output import print_json, progress_bar, short_names
from ssdcore.contract.plugins import Plugins
from ssdcore.errors import ModelError, PluginError
from ssdcore.params import BlockNorm, EvalParams, ParamSet, Stage, TrainParams
from ssdcore.params.presets import MODELS
from ssdcore.system.tensorflow import load_tensorflow


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
@click.option("--max-images", "--max-pictures", "max_images", type=click.IntRange(1), help="Only the first N images.")
@click.option("--out", type=PathOption, help="Folder to create for compare.csv and compare.png.")
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

    A BACKBONE gets the SSD models and random weights, which run as fast as trained ones except for NMS, which
    has more boxes to process; a RUN (or checkpoint) is evaluated as well. Without names all installed backbones with
    feature layers for a --model are measured. Each is measured in a subprocess of its own; one that fails is left out.
    """
    from ssdcore.data.records.manifest import Manifest

    manifest = Manifest.load(data)
    images = Images(data, manifest.eval_split(split, ""), max_images)
    candidates = find_candidates(names, models, program.plugins, manifest.classes, batch)
    if out:
        prepare(out)
    measured, failed = _measure_all(candidates, images, program.debug)
    if as_json:
        print_json([asdict(one) for one in measured])
    elif measured:
        print_measured(measured)
    if out and measured:
        write(measured, out)
        if not as_json:
            click.echo(f"written to {out / TABLE} and {out / PLOT}")
    if failed:
        raise ModelError(
            f"{len(failed)} of {len(candidates)} detectors could not be measured ({', '.join(failed)}); the "
            "warnings say why, 'ssd --debug compare ...' shows where"
        )


def _measure_all(candidates: Sequence[Candidate], images: Images, debug: bool) -> tuple[list[Measured], list[str]]:
    """Measures one after the other; warns of one that fails and continues. Returns the names of those as well."""
    measured, failed = [], []
    with progress_bar("measuring") as bar:
        for done, candidate in enumerate(candidates):
            bar.update(done, len(candidates), candidate.name)
            one = measure_in_subprocess(candidate, images, debug)
            if isinstance(one, Measured):
                measured.append(one)
            else:
                failed.append(candidate.name)
                click.echo(f"warning: {candidate.name} could not be measured: {one}", err=True)
        bar.update(len(candidates), len(candidates))
    return measured, failed


def find_candidates(
    names: Sequence[str], models: Sequence[str], plugins: Plugins, classes: tuple[str, ...], batch: int
) -> list[Candidate]:
    """The detectors to measure, no two of the same name.

    Args:
        names: backbones, run folders and checkpoints; none: all backbones that suit one of the models.
        models: SSD models to put on the backbones.
        plugins: the installed plugins.
        classes: of untrained detectors.
        batch: images at a time.

    Raises:
        PluginError: a name is neither a backbone nor a path, or a backbone suits none of the models.
        CheckpointError: a path holds no checkpoint.
        click.UsageError: a name is empty or given twice.
    """
    if "" in names:
        raise click.UsageError("an empty name is neither a backbone nor a run.")
    models = tuple(dict.fromkeys(models))
    names = names or [name for name in plugins.backbones if _suited(name, models, plugins)]
    paths = [name for name in names if name not in plugins.backbones and Path(name).exists()]
    label_of = dict(zip(paths, short_names([Path(name) for name in paths]), strict=True))
    candidates: list[Candidate] = []
    for name in names:
        if name in label_of:
            candidates.append(_trained(Path(name), label_of[name], batch))
        else:
            candidates += _untrained(name, models, plugins, classes, batch)
    if len({one.name for one in candidates}) < len(candidates):
        raise click.UsageError("the same backbone is given twice.")
    return candidates


def _suited(backbone: str, models: Sequence[str], plugins: Plugins) -> list[str]:
    """The models for which a backbone has feature layers."""
    return [model for model in models if plugins.feature_layers(backbone, model)]


def _trained(path: Path, label: str, batch: int) -> Candidate:
    load_tensorflow()
    from ssdcore.runs.checkpoint import load_checkpoint
    from ssdcore.runs.run_folder import find_checkpoint

    checkpoint = load_checkpoint(find_checkpoint(path))
    params = checkpoint.params.override([f"eval.batch_size={batch}"])
    return Candidate(label, params, checkpoint.classes, checkpoint.path)


def _untrained(
    name: str, models: Sequence[str], plugins: Plugins, classes: tuple[str, ...], batch: int
) -> Iterator[Candidate]:
    """A backbone with each of the models that it suits."""
    try:
        plugins.backbone(name)
    except PluginError as error:
        raise PluginError(f"there is no run folder or checkpoint {Path(name).absolute()}, and {error}") from None
    suited = _suited(name, models, plugins)
    if not suited:
        raise PluginError(
            f"{name} has no feature layers for {', '.join(models)}; choose another --model, or leave it out "
            "('ssd backbones list' shows which has which)"
        )
    for model in suited:
        params = ParamSet(
            backbone=name,
            # The SSD blocks are normalised as the layers of nearly all backbones are.
            model=MODELS[model]().model_copy(update={"block_norm": BlockNorm()}),
            train=TrainParams(stages=(Stage(name="none", steps=1),)),
            eval=EvalParams(batch_size=batch),
        )
        yield Candidate(f"{name} {model}", params, classes)
