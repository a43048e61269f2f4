"""Starts a backbone from public weights: Keras Applications' `.h5` files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ssdcore.backbones import Backbone
from ssdcore.errors import CheckpointError
from ssdcore.model import SSD
from ssdcore.model.variables import backbone_variables

KERAS_APPLICATIONS = "keras_applications"
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ImportReport:
    """How a file's arrays met a backbone's variables; all names are sorted."""

    matched: tuple[str, ...]
    unused: tuple[str, ...]


def load_backbone_weights(ssd: SSD, backbone: Backbone, path: Path) -> ImportReport:
    """Copies weights of a Keras Applications file into the base net; the SSD layers stay as they are.

    Args:
        ssd: a detector built on `backbone`.
        backbone: whose name map says which array belongs where.
        path: a `.h5` file as Keras Applications publishes them, with or without top.

    Raises:
        CheckpointError: the file is unreadable, the backbone cannot start from such files, or a
            variable has no array of its shape. Nothing is changed then.
    """
    name_map = backbone.checkpoints.get(KERAS_APPLICATIONS)
    if name_map is None:
        raise CheckpointError(f"backbone {backbone.name!r} does not say how to read Keras Applications weights")
    arrays = _read_h5(path)
    variables = backbone_variables(ssd)
    wanted = {name: name_map(name) for name in variables}
    faults = [
        f"{name} (there: {there}) {_fault(arrays, there, tuple(variables[name].shape))}"
        for name, there in wanted.items()
        if there not in arrays or arrays[there].shape != tuple(variables[name].shape)
    ]
    if faults:
        raise CheckpointError(
            f"{path.absolute()} fits {len(wanted) - len(faults)} of the {len(wanted)} variables of "
            f"{backbone.name!r}; first misfit: {faults[0]}; use the weights of this architecture and width"
        )
    for name, there in wanted.items():
        variables[name].assign(arrays[there])
    unused = sorted(arrays.keys() - wanted.values())
    return ImportReport(tuple(sorted(wanted)), tuple(unused))


def _fault(arrays: Arrays, name: str, shape: tuple[int, ...]) -> str:
    if name not in arrays:
        return "is not in the file"
    return f"has shape {arrays[name].shape}, wanted {shape}"


def _read_h5(path: Path) -> dict[str, NDArray[np.float32]]:
    """The arrays of a Keras weights file by `layer/variable`. Links out of the file are not followed."""
    arrays: dict[str, NDArray[np.float32]] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not item.external and item.dtype.kind == "f":
            layer, variable = name.split("/")[-2:]
            arrays[f"{layer}/{variable.removesuffix(':0')}"] = np.asarray(item)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(take)
    except FileNotFoundError:
        raise CheckpointError(f"there is no weights file {path.absolute()}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path.absolute()} is no readable HDF5 file: {error}") from None
    return arrays
