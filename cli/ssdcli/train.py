"""`ssd train`."""

from pathlib import Path

import click

from ssdcli.options import PathOption, Program, overrides, pass_program
from ssdcore.contract.plugins import Plugins, param_set
from ssdcore.errors import CheckpointError, ParamError
from ssdcore.params import ParamSet
from ssdcore.runs.run_folder import RunFolder
from ssdcore.system.tensorflow import load_tensorflow, quiet_tensorflow


@click.command()
@click.option("--params", "name", help="Name of a param set, or a YAML file (ssd params list).")
@click.option("--data", required=True, type=PathOption, help="Folder of records (ssd data convert).")
@click.option("--out", required=True, type=PathOption, help="Run folder to create, or to continue.")
@click.option("--resume", is_flag=True, help="Continue the run in --out, with its own params.yaml.")
@click.option("--devices", help="all (GPUs), 0,1 (these GPUs) or cpu:2; TF_CONFIG names the workers. Default: one.")
@click.option("--monitor", type=click.Choice(["map", "loss"]), help="What the best checkpoint is chosen by.")
@click.option(
    "--early-stop", type=click.IntRange(1), help="End a stage after this many evaluations without improvement."
)
@click.option("--profile", is_flag=True, help="Trace steps 11 to 20 for TensorBoard's profiler.")
@overrides
@pass_program
def train(
    program: Program,
    *,
    name: str | None,
    data: Path,
    out: Path,
    resume: bool,
    devices: str | None,
    monitor: str | None,
    early_stop: int | None,
    profile: bool,
    assignments: tuple[str, ...],
) -> None:
    """Train a detector.

    KEY=VALUE replaces a value of the param set, as in train.stages.0.epochs=20.
    """
    plugins = program.plugins
    options = {"train.monitor": monitor, "train.early_stop": early_stop}
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    params = _params(name, out, resume, plugins).override([*given, *assignments])
    plugins.backbone(params.backbone)
    run_training(params, data, out, plugins, devices, resume=resume, profile=profile)
    click.echo(f"done; next: ssd eval {out} --data {data}")


def _params(name: str | None, out: Path, resume: bool, plugins: Plugins) -> ParamSet:
    if name:
        return param_set(name, plugins=plugins)
    if resume and RunFolder(out).params.is_file():
        return ParamSet.load(RunFolder(out).params)
    if resume:
        raise CheckpointError(f"there is no run to continue in {out.absolute()}", "no_run")
    raise ParamError(f"--params is missing; shipped sets: {', '.join(plugins.param_sets)}")


def run_training(
    params: ParamSet, data: Path, out: Path, plugins: Plugins, devices: str | None = None, **options: bool
) -> None:
    """Trains with a progress bar on a terminal, with log lines elsewhere.

    `options` are those of `ssdcore.training.train`.
    """
    with quiet_tensorflow():
        from ssdcli.training_progress import TrainingProgress
        from ssdcore.training import train as train_model
        from ssdcore.training.distributed.devices import make_strategy

        # First of all, since workers are joined when TensorFlow is initialised.
        strategy = make_strategy(devices)
    load_tensorflow()
    with TrainingProgress() as callback:
        train_model(params, data, out, plugins, callback=callback, strategy=strategy, **options)
