"""Reads the HDF5 weights files of Keras Applications."""

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import CheckpointError
from ssdcore.weights.stored import StoredArray, check_declared_size


def read_keras_h5(path: Path) -> dict[str, StoredArray]:
    """The arrays of a Keras weights file by `layer/variable`. Links out of the file are not followed.

    Raises:
        CheckpointError: the file is no HDF5 file, or a damaged one.
    """
    arrays: dict[str, StoredArray] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not item.external and not item.is_virtual and item.dtype.kind == "f":
            layer, variable = f"/{name}".split("/")[-2:]
            own = f"{layer}/{variable.removesuffix(':0')}"
            arrays[own] = StoredArray(item.shape, item.dtype, partial(_read, path, name))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(take)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path.absolute()} is no readable HDF5 file: {error}; get the file again") from None
    check_declared_size(path, arrays, path.stat().st_size)
    return arrays


def _read(path: Path, name: str) -> NDArray[Any]:
    with h5py.File(path, "r") as file:
        return np.asarray(file[name])
