"""Checkpoints: `.npz` files of plain arrays and a JSON text. Nothing in them is ever executed."""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray

from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.errors import CheckpointError, ParamError
from ssdcore.files import atomic_file
from ssdcore.model import SSD, build_ssd
from ssdcore.model.variables import named_variables
from ssdcore.params import ParamSet
from ssdcore.params.class_names import check_class_names
from ssdcore.runs.run_folder import find_checkpoint

FORMAT = 2
MODEL_PREFIX = "model/"
AVERAGES_PREFIX = "averages/"
_META = "meta.json"
_DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, RuntimeError, NotImplementedError),
    zipfile.BadZipFile,
)
"""What reading a damaged `.npz` file can raise."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: where it was read.
        params: the param set the model was built from.
        classes: names of classes 1..C.
        progress: the `TrainingState`; empty in a file that holds a model only.
        made: data and versions it was made with; see `ssdcore.runs.provenance`.
        arrays: name -> value of `model/<variable>`, `averages/<variable>` and what training adds.
    """

    path: Path
    params: ParamSet
    classes: tuple[str, ...]
    progress: Mapping[str, Any]
    made: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    def below(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): value for name, value in self.arrays.items() if name.startswith(prefix)}

    def weights(self, averaged: bool = True) -> dict[str, NDArray[Any]]:
        """Variable -> value: the averages of the weights, if there are any and `averaged` is set, else the weights."""
        return (averaged and self.below(AVERAGES_PREFIX)) or self.below(MODEL_PREFIX)


def save_checkpoint(
    path: Path,
    ssd: SSD,
    params: ParamSet,
    progress: Mapping[str, Any] = MappingProxyType({}),
    more: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    made: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: file to create or replace.
        ssd: the model, with the weights to save.
        params: the param set that it was built from.
        progress: the `TrainingState` as plain values.
        more: further arrays, by their full names.
        made: see `ssdcore.runs.provenance`.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; an older file stays whole.
    """
    meta = {
        "format": FORMAT,
        "params": params.model_dump(mode="json"),
        "classes": list(ssd.classes),
        "progress": dict(progress),
        "made": dict(made),
    }
    arrays = {MODEL_PREFIX + name: variable.numpy() for name, variable in named_variables(ssd).items()} | dict(more)
    arrays[_META] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with atomic_file(path, CheckpointError) as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint file.

    Raises:
        CheckpointError: it is missing, damaged, or not one of our checkpoints.
    """
    try:
        content = io.BytesIO(path.read_bytes())
        _check_members(content)
        with np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop(_META).tobytes())
        version, classes, progress = int(meta["format"]), check_class_names(meta["classes"]), dict(meta["progress"])
        made = dict(meta.get("made", {}))
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path.absolute()}") from None
    except (*_DAMAGE, ParamError):
        raise CheckpointError(f"{path.absolute()} is damaged or no checkpoint of ssdcore", "not_a_checkpoint") from None
    if version != FORMAT:
        advice = "update ssdcore" if version > FORMAT else "use the version that made it, or train again"
        raise CheckpointError(f"{path.absolute()} has format {version}, this version reads {FORMAT}; {advice}")
    params = ParamSet.parse(meta["params"], str(path))
    return Checkpoint(path, params, classes, progress, made, arrays)


def _check_members(content: io.BytesIO) -> None:
    """Makes sure, before any array is allocated, that each is stored uncompressed and has the size it declares.

    Raises:
        ValueError: one is not.
    """
    with zipfile.ZipFile(content) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                version = read_magic(member)
                read: Any = read_array_header_1_0 if version == (1, 0) else read_array_header_2_0
                shape, _, dtype = read(member)
                size = member.tell() + math.prod(shape) * dtype.itemsize
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != size:
                raise ValueError(f"{info.filename} does not have the size it declares")
    content.seek(0)


def load_ssd(path: Path | str, plugins: Plugins | None = None) -> SSD:
    """The network of a trained detector, with its weights: their averages, where training kept such.

    Args:
        path: run folder (its best checkpoint is used, else its last) or checkpoint file.
        plugins: where the backbone comes from; None: the installed ones.

    Raises:
        CheckpointError: nothing usable is there.
        PluginError: the backbone is not installed.
    """
    return restore_model(load_checkpoint(find_checkpoint(Path(path))), plugins or load_plugins())


def restore_model(checkpoint: Checkpoint, plugins: Plugins) -> SSD:
    """Builds the checkpoint's model with its weights: their averages, if the checkpoint has them.

    Raises:
        PluginError: its backbone is not installed.
        CheckpointError: the weights do not fit the model that the installed backbone builds.
    """
    ssd = build_ssd(checkpoint.params, checkpoint.classes, plugins)
    assign_weights(ssd, checkpoint)
    return ssd


def assign_weights(ssd: SSD, checkpoint: Checkpoint, averaged: bool = True) -> None:
    """Copies a checkpoint's weights into a model, all or none.

    Args:
        ssd: the model.
        checkpoint: where they come from.
        averaged: take the averages of the weights, if the checkpoint has them.

    Raises:
        CheckpointError: names or shapes differ.
    """
    variables, saved = named_variables(ssd), checkpoint.weights(averaged)
    problems = [f"{name} is missing" for name in variables.keys() - saved.keys()]
    problems += [f"{name} is unknown" for name in saved.keys() - variables.keys()]
    problems += [
        f"{name} has shape {saved[name].shape}, not {tuple(variable.shape)}"
        for name, variable in variables.items()
        if name in saved and saved[name].shape != tuple(variable.shape)
    ]
    if problems:
        raise CheckpointError(
            f"{checkpoint.path.absolute()} does not fit the model of {ssd.backbone.name!r} as installed: "
            f"{'; '.join(sorted(problems)[:3])}{f' and {len(problems) - 3} more' if len(problems) > 3 else ''}; "
            "install the version of the backbone it was trained with"
        )
    for name, variable in variables.items():
        variable.assign(saved[name])
