"""What the names behind `ssd compare` stand for."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from ssdcli.compare.measure import Candidate
from ssdcli.labels import labels
from ssdcli.options import load_tensorflow
from ssdcore.contract.plugins import Plugins
from ssdcore.errors import PluginError
from ssdcore.params import BlockNorm, EvalParams, ParamSet, Stage, TrainParams
from ssdcore.params.presets import MODELS


def find_candidates(
    names: Sequence[str], models: Sequence[str], plugins: Plugins, classes: tuple[str, ...], batch: int
) -> list[Candidate]:
    """The detectors to measure, no two of one name.

    Args:
        names: backbones, run folders and checkpoints; none: all backbones that suit one of the models.
        models: SSD models to put on the backbones.
        plugins: the installed plugins.
        classes: of detectors that are not trained.
        batch: images at a time.

    Raises:
        PluginError: a name is neither a backbone nor a path, or a backbone suits none of the models.
        CheckpointError: a path holds no checkpoint.
        click.UsageError: a name is empty, or there twice.
    """
    if "" in names:
        raise click.UsageError("an empty name is no backbone and no run.")
    names, models = names or _suited(plugins, models), tuple(dict.fromkeys(models))
    paths = [Path(name) for name in names if _is_path(name, plugins)]
    shown = dict(zip(paths, labels(paths), strict=True))
    found: list[Candidate] = []
    for name in names:
        if _is_path(name, plugins):
            found.append(_trained(Path(name), shown[Path(name)], batch))
        else:
            found += _untrained(name, models, plugins, classes, batch)
    if len({one.name for one in found}) < len(found):
        raise click.UsageError("the same backbone is given twice.")
    return found


def _is_path(name: str, plugins: Plugins) -> bool:
    return name not in plugins.backbones and Path(name).exists()


def _suited(plugins: Plugins, models: Sequence[str]) -> tuple[str, ...]:
    """The backbones that have feature layers for one of the models."""
    return tuple(name for name in plugins.backbones if any(plugins.feature_layers(name, model) for model in models))


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
    _require_backbone(name, plugins)
    suited = [model for model in models if plugins.feature_layers(name, model)]
    if not suited:
        raise PluginError(
            f"{name} has no feature layers for {', '.join(models)}; choose another --model, or leave it out "
            "('ssd backbones list' shows which has which)"
        )
    for model in suited:
        yield Candidate(f"{name} {model}", _untrained_params(name, model, batch), classes)


def _require_backbone(name: str, plugins: Plugins) -> None:
    try:
        plugins.backbone(name)
    except PluginError as error:
        raise PluginError(f"there is no run folder or checkpoint {Path(name).absolute()}, and {error}") from None


def _untrained_params(backbone: str, model: str, batch: int) -> ParamSet:
    """The SSD model on a backbone, its own layers normalised as those of nearly all backbones are."""
    return ParamSet(
        backbone=backbone,
        model=MODELS[model]().model_copy(update={"block_norm": BlockNorm()}),
        train=TrainParams(stages=(Stage(name="none", steps=1),)),
        eval=EvalParams(batch_size=batch),
    )
