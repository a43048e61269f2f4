"""Checkpoints: one `.npz` file of plain arrays and a JSON text. Nothing in it is ever executed."""

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssdcore.contract.plugins import Plugins
from ssdcore.errors import CheckpointError, ParamError
from ssdcore.model import SSD, build_ssd
from ssdcore.model.variables import named_variables
from ssdcore.params import ParamSet
from ssdcore.params.class_names import check_class_names

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
        progress: where training stood; empty in a file that holds a model only.
        made: on what data, with which versions; see `ssdcore.runs.provenance`.
        arrays: `model/<variable>`, `averages/<variable>` and whatever training keeps beside them -> values.
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
        """Variable -> value: the averages of the weights if there are any and they are wanted, else the weights."""
        return (averaged and self.below(AVERAGES_PREFIX)) or self.below(MODEL_PREFIX)


def save_checkpoint(
    path: Path,
    ssd: SSD,
    params: ParamSet,
    progress: Mapping[str, Any] = MappingProxyType({}),
    more: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    made: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Writes a checkpoint under a temporary name, flushes it to disk, then renames it.

    Args:
        path: file to make or replace.
        ssd: the model, with the weights to save.
        params: the param set that it was built from.
        progress: where training stands, plain values.
        more: arrays to keep beside the weights, by whole names.
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
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {path.absolute()}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint file.

    Raises:
        CheckpointError: it is missing, damaged, or no checkpoint of ours.
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
        raise CheckpointError(
            f"{path.absolute()} is damaged or no checkpoint of this program; use another one, or make one of other "
            "people's weights with 'ssd weights import'"
        ) from None
    if version != FORMAT:
        advice = "update ssdcore" if version > FORMAT else "use the version that made it, or train anew"
        raise CheckpointError(f"{path.absolute()} has format {version}, this version reads {FORMAT}; {advice}")
    params = ParamSet.parse(meta["params"], str(path))
    return Checkpoint(path, params, classes, progress, made, arrays)


def _check_members(content: io.BytesIO) -> None:
    """Makes sure that no array is packed, or declares another size than it has, before any is made.

    Raises:
        ValueError: one does.
    """
    with zipfile.ZipFile(content) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                shape, _, dtype = _read_header(member)
                size = member.tell() + math.prod(shape) * dtype.itemsize
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != size:
                raise ValueError(f"{info.filename} is not as large as it says")
    content.seek(0)


def _read_header(member: Any) -> Any:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)


def restore_model(checkpoint: Checkpoint, plugins: Plugins) -> SSD:
    """Builds the checkpoint's model and gives it its weights: their averages, where training kept such.

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
        averaged: take the averages of the weights, where training kept such.

    Raises:
        CheckpointError: names or shapes differ.
    """
    variables, saved = named_variables(ssd), checkpoint.weights(averaged)
    faults = [f"{name} is missing" for name in variables.keys() - saved.keys()]
    faults += [f"{name} is unknown" for name in saved.keys() - variables.keys()]
    faults += [
        f"{name} has shape {saved[name].shape}, not {tuple(variable.shape)}"
        for name, variable in variables.items()
        if name in saved and saved[name].shape != tuple(variable.shape)
    ]
    if faults:
        raise CheckpointError(
            f"{checkpoint.path.absolute()} does not fit the model of {ssd.backbone.name!r} as installed: "
            f"{'; '.join(sorted(faults)[:3])}{f' and {len(faults) - 3} more' if len(faults) > 3 else ''}; "
            "install the version of the backbone it was trained with"
        )
    for name, variable in variables.items():
        variable.assign(saved[name])
