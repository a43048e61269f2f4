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

    def take(name: str, item: Any) -> None:
        if not _is_plain(item):
            return
        layer, variable = f"/{name}".split("/")[-2:]
        own = f"{layer}/{variable.removesuffix(':0')}"
        if own in arrays or layer == "vars":
            raise CheckpointError(
                f"{path.absolute()} does not name its layers, as files of Keras 3's save_weights do not; give a file "
                "as Keras Applications publishes them, or one of model.save('name.h5')"
            )
        if item.compression:
            raise CheckpointError(
                f"{path.absolute()}: {name} is compressed, which Keras' files are not; store it plainly"
            )
        arrays[own] = StoredArray(item.shape, item.dtype, partial(_read, path, name))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(take)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path.absolute()} is no readable HDF5 file: {error}; get the file again") from None
    check_declared_size(path, arrays, path.stat().st_size)
    return arrays


def _is_plain(item: Any) -> bool:
    """Whether an item is an array of floats inside this file."""
    if not isinstance(item, h5py.Dataset) or item.shape is None or item.dtype.kind != "f":
        return False
    return not item.external and not item.is_virtual


def _read(path: Path, name: str) -> NDArray[Any]:
    with h5py.File(path, "r") as file:
        return np.asarray(file[name])
