"""Starting a run, and whether an existing one can be resumed."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssdcore.data.records.manifest import Manifest
from ssdcore.errors import CheckpointError, TrainingError
from ssdcore.evaluation.evaluate import check_classes
from ssdcore.params import ParamSet, Stage, difference
from ssdcore.runs.checkpoint import Checkpoint, load_checkpoint
from ssdcore.runs.run_folder import RunFolder

_FREE = re.compile(
    r"train\.(log_every|eval_every|early_stop|save_minutes|keep|augmentation_images|histograms)|"
    r"data\.(parallel_calls|max_undecodable)|eval\.batch_size|description"
)
"""Parameters that may change when a run is resumed."""

_LENGTH = re.compile(r"train\.stages\.(\d+)\.(epochs|steps)")


def open_run(
    run: RunFolder, params: ParamSet, manifest: Manifest, data: Path, *, resume: bool, chief: bool
) -> tuple[ParamSet, Checkpoint | None, str]:
    """Makes sure that a new run's folder is unused, or that the run in it can be resumed.

    Returns:
        The parameters with the names of splits filled in, and on resuming the sizes of `auto` batches; the checkpoint
        to resume from, None for a new run; a warning about a damaged last checkpoint, empty if there is none.

    Raises:
        TrainingError: the folder is in use, or the run was started with other parameters or data.
        CheckpointError: there is no checkpoint that can be read.
        DataError: the data lacks the splits.
    """
    params = _with_splits(params, manifest)
    if resume:
        checkpoint, warning = load_latest(run)
        params = _with_batch_sizes(params, checkpoint.params.train.stages)
        check_classes(checkpoint.classes, manifest.classes, data)
        _refuse_changes(checkpoint, params)
        _refuse_other_data(checkpoint, manifest, params, data)
        return params, checkpoint, warning
    if params.train.weights.file is None:
        require_trained_backbone(params)
    if chief and not run.is_unused():
        raise TrainingError(f"{run.root.absolute()} is in use", "run_exists")
    return params, None, ""


def load_latest(run: RunFolder) -> tuple[Checkpoint, str]:
    """The last checkpoint, or the latest readable one before it and a warning.

    Raises:
        CheckpointError: none can be read.
    """
    failures: list[CheckpointError] = []
    for path in (run.last, *run.numbered()):
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            failures.append(error)
        else:
            step = checkpoint.progress.get("step")
            return checkpoint, f"{failures[0]}; continuing from step {step}, {path.name}" if failures else ""
    raise failures[0]


def require_trained_backbone(params: ParamSet) -> None:
    """Refuses to freeze a backbone whose weights are random, in whole or in part.

    Raises:
        TrainingError: the first stage freezes it.
    """
    first = params.train.stages[0]
    if first.trainable == "ssd" or isinstance(first.trainable, int):
        raise TrainingError(
            f"the first stage, {first.name!r}, freezes the backbone, which would keep its random weights; give a file "
            "to start from (train.weights=FILE), or train the backbone, too (train.stages.0.trainable=all)"
        )


def _with_splits(params: ParamSet, manifest: Manifest) -> ParamSet:
    """The same parameters with the names of the splits filled in from the data."""
    train = manifest.train_split(params.data.train_split)
    evaluated = params.data.eval_split
    if params.train.eval_every:
        evaluated = manifest.eval_split(evaluated, train)
    data = params.data.model_copy(update={"train_split": train, "eval_split": evaluated})
    return params.model_copy(update={"data": data})


def _with_batch_sizes(params: ParamSet, resolved: Sequence[Stage]) -> ParamSet:
    """The same parameters with the batch sizes and learning rates that `auto` was resolved to at the start."""
    stages = list(params.train.stages)
    for index, (stage, before) in enumerate(zip(stages, resolved, strict=False)):
        if stage.batch_size == "auto":
            fixed = {"batch_size": before.batch_size, "learning_rate": before.learning_rate}
            stages[index] = stage.model_copy(update=fixed)
    return params.model_copy(update={"train": params.train.model_copy(update={"stages": tuple(stages)})})


def _refuse_changes(checkpoint: Checkpoint, params: ParamSet) -> None:
    """Refuses other parameters, except for the length of later stages and what does not affect the weights."""
    stage = checkpoint.progress["stage"]
    changes = [
        f"{key} was {_shown(old)}, now {_shown(new)}"
        for key, old, new in difference(checkpoint.params, params)
        if not (_FREE.fullmatch(key) or ((length := _LENGTH.fullmatch(key)) and int(length[1]) >= stage))
    ]
    if changes:
        listed, more = "; ".join(changes[:5]), f" and {len(changes) - 5} more" if len(changes) > 5 else ""
        raise TrainingError(
            f"the run in {checkpoint.path.parent.parent.absolute()} was started with other parameters: {listed}{more}; "
            "resume with its own params.yaml, or start a new run"
        )


def _shown(value: Any) -> str:
    return "absent" if value is None else repr(value)


def _refuse_other_data(checkpoint: Checkpoint, manifest: Manifest, params: ParamSet, data: Path) -> None:
    """Refuses other images or annotations than the run was started on."""
    split = manifest.train_split(params.data.train_split)
    before, now = checkpoint.progress["images"], manifest.split(split).images
    if before != now:
        raise TrainingError(
            f"the run was started on {before} images, {data.absolute()} has {now} in "
            f"{split!r}; resume on the same data, or start a new run"
        )
    digest = checkpoint.made.get("data_digest")
    if digest and digest != manifest.source:
        raise TrainingError(
            f"{data.absolute()} was made from other images or annotations than the run was started on "
            f"({checkpoint.made.get('data')}); resume on that data, or start a new run"
        )
