"""The checkpoints of a run: the last few, and what training needs of them to go on exactly."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import CheckpointError
from ssdcore.model import SSD
from ssdcore.params import ParamSet
from ssdcore.runs.checkpoint import AVERAGES_PREFIX, Checkpoint, save_checkpoint
from ssdcore.runs.run_folder import RunFolder
from ssdcore.training.averages import WeightAverages
from ssdcore.training.lock import is_held
from ssdcore.training.loss_scale import LossScale
from ssdcore.training.progress import Progress
from ssdcore.training.update import Update
from ssdcore.training.window import Window

WATCH_LOCK = ".lock"
"""In the folder of an evaluation that watches a run: held while it does."""

_AVERAGES, _SCALE, _OPTIMIZER, _WINDOW = (
    "training/averages/",
    "training/scale/",
    "training/optimizer/",
    "training/window",
)


def keep(
    run: RunFolder, ssd: SSD, params: ParamSet, progress: Progress, more: Mapping[str, Any], made: Mapping[str, Any]
) -> None:
    """Saves a checkpoint of this step as the run's last one, and removes those that are too many.

    Those who watch the run are given it, too; half-written ones that a killed run left behind go.

    Raises:
        CheckpointError: it cannot be written; the one before stays whole.
    """
    path = run.at_step(progress.step)
    save_checkpoint(path, ssd, params, asdict(progress), more, made)
    _copy(path, run.last)
    for folder in watched_folders(run):
        if is_held(folder / WATCH_LOCK):
            hand_over(path, folder)
    for old in (*run.numbered()[params.train.keep :], *run.partial()):
        old.unlink(missing_ok=True)


def forget_later(run: RunFolder, step: int) -> None:
    """Removes the checkpoints behind the step that a run goes on from, and then those that wait to be scored."""
    for folder in (run.checkpoints, *watched_folders(run)):
        for path in folder.glob("step-*.npz"):
            if path.name > run.at_step(step).name:
                path.unlink(missing_ok=True)


def watched_folders(run: RunFolder) -> list[Path]:
    """The folders of those who watch a run, or did."""
    return [path for path in run.watches.glob("*") if path.is_dir()]


def hand_over(path: Path, folder: Path) -> None:
    """Gives a checkpoint a second name in a folder, where it stays when the first one goes; a copy if need be.

    Nothing happens if it has one, is gone, or cannot be copied: training is not to suffer from it.
    """
    target = folder / path.name
    with suppress(OSError, CheckpointError):
        if not target.exists():
            _copy(path, target)


def _copy(path: Path, target: Path) -> None:
    """Lets `target` hold the same as `path`, at once and without a second copy where the disk can do that."""
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        partial.unlink(missing_ok=True)
        try:
            os.link(path, partial)
        except OSError:  # a file system without links
            shutil.copyfile(path, partial)
        partial.replace(target)
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {target.absolute()}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def average_arrays(averages: WeightAverages | None) -> dict[str, NDArray[Any]]:
    """The averaged weights, as a checkpoint holds them."""
    found = averages.variables if averages else {}
    return {AVERAGES_PREFIX + name: variable.numpy() for name, variable in found.items()}


def training_arrays(
    update: Update | None, averages: WeightAverages | None, scale: LossScale | None, window: Window
) -> dict[str, NDArray[Any]]:
    """What a checkpoint holds beside the weights, for training to go on exactly."""
    arrays = average_arrays(averages)
    arrays |= {_AVERAGES + name: value.numpy() for name, value in (averages.state if averages else {}).items()}
    arrays |= {_SCALE + name: value.numpy() for name, value in (scale.state if scale else {}).items()}
    slots = update.state if update else ()
    arrays |= {f"{_OPTIMIZER}{number:04d}": value.numpy() for number, value in enumerate(slots)}
    return {**arrays, _WINDOW: window.values()}


def restore_averages(checkpoint: Checkpoint, averages: WeightAverages | None, scale: LossScale | None) -> None:
    """Gives averages and loss scale the values they had.

    Raises:
        CheckpointError: the checkpoint does not hold them.
    """
    if averages:
        _assign_all(checkpoint, AVERAGES_PREFIX, averages.variables)
        _assign_all(checkpoint, _AVERAGES, averages.state)
    if scale:
        _assign_all(checkpoint, _SCALE, scale.state)


def restore_stage(checkpoint: Checkpoint, update: Update) -> Window:
    """Gives a stage's optimizer the slots it had; returns what was not yet logged.

    Raises:
        CheckpointError: the checkpoint holds no state of this optimizer.
    """
    slots = {f"{number:04d}": variable for number, variable in enumerate(update.state)}
    _assign_all(checkpoint, _OPTIMIZER, slots)
    return Window(np.asarray(checkpoint.arrays[_WINDOW]))


def _assign_all(checkpoint: Checkpoint, prefix: str, variables: Mapping[str, Any]) -> None:
    saved = checkpoint.below(prefix)
    if {name: value.shape for name, value in saved.items()} != {n: tuple(v.shape) for n, v in variables.items()}:
        raise CheckpointError(
            f"{checkpoint.path.absolute()} holds no state of this training ({prefix.split('/')[-2]}); start a new run "
            "from its weights (train.weights=FILE)"
        )
    for name, variable in variables.items():
        variable.assign(saved[name])
