"""Reads the HDF5 weights files of Keras Applications."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import CheckpointError
from ssdcore.weights.stored import StoredArray, check_declared_size

_NUMBERED = re.compile(r"(conv2d|separable_conv2d|depthwise_conv2d|batch_normalization|layer_normalization)(?:_(\d+))?")
"""Keras' default layer names; the number depends on what was built before."""


def read_keras_h5(path: Path) -> dict[str, StoredArray]:
    """The arrays of a Keras weights file by `layer/variable`. Links out of the file are not followed.

    Layers with default names are renumbered from 0: `conv2d`, `conv2d_1`, ….

    Raises:
        CheckpointError: the file is no HDF5 file, or a damaged one.
    """
    arrays: dict[tuple[str, str], StoredArray] = {}

    def take(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.shape is None or item.dtype.kind != "f":
            return
        if item.external or item.is_virtual:  # in another file
            return
        own = _named_by_keras_3(item) or _named_by_path(name)
        if own is None or own in arrays:
            raise CheckpointError(
                f"{path.absolute()} does not name its layers, as files of early Keras 3's save_weights do not; give a "
                "file as Keras Applications publishes them, or one of model.save('name.h5')"
            )
        if item.compression:
            raise CheckpointError(
                f"{path.absolute()}: {name} is compressed, which Keras' files are not; store it uncompressed"
            )
        arrays[own] = StoredArray(item.shape, item.dtype, partial(_read, path, name))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(take)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path.absolute()} is no readable HDF5 file: {error}; get the file again") from None
    layers = _counted_from_zero({layer for layer, _ in arrays})
    named = {f"{layers.get(layer, layer)}/{variable}": array for (layer, variable), array in arrays.items()}
    check_declared_size(path, named, path.stat().st_size)
    return named


def _named_by_path(name: str) -> tuple[str, str] | None:
    """Layer and variable of `layer/layer/variable:0`; a layer's name may have slashes.

    A variable that has no name is `variable`, without the number that Keras 3 gives it.
    """
    *groups, variable = name.split("/")
    variable = re.sub(r"^[Vv]ariable(_\d+)?$", "variable", variable.removesuffix(":0"))
    if not groups or groups[-1] == "vars":
        return ("", variable) if not groups else None
    lengths = range(len(groups) // 2, 0, -1)
    repeated = next((length for length in lengths if groups[-length:] == groups[-2 * length : -length]), 1)
    return "/".join(groups[-repeated:]), variable


def _named_by_keras_3(item: Any) -> tuple[str, str] | None:
    """Layer and variable in a file of Keras 3's save_weights: an attribute names the layer, variables have numbers."""
    layer = item.parent.attrs.get("name")
    number = item.name.rpartition("/")[2]
    if not isinstance(layer, str) or not number.isdecimal():
        return None
    names = _variables_of([item.parent[one].shape for one in sorted(item.parent, key=int)])
    return (layer, names[int(number)]) if int(number) < len(names) else None


def _variables_of(shapes: Sequence[tuple[int, ...]]) -> tuple[str, ...]:
    """Names of a layer's variables, by their shapes in the order in which Keras' layers make them."""
    if len(shapes[0]) == 1:  # a normalisation: without statistics, without scale, or with all
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        return names[1:] if len(shapes) == 3 else names[: len(shapes)]
    separable = len(shapes) > 1 and len(shapes[1]) > 1
    return ("depthwise_kernel", "pointwise_kernel", "bias") if separable else ("kernel", "bias")


def _counted_from_zero(layers: set[str]) -> Mapping[str, str]:
    """New names for numbered layers."""
    kinds: dict[str, list[tuple[int, str]]] = {}
    for layer in layers:
        if found := _NUMBERED.fullmatch(layer):
            kinds.setdefault(found[1], []).append((int(found[2] or 0), layer))
    return {
        layer: f"{kind}_{rank}" if rank else kind
        for kind, found in kinds.items()
        for rank, (_, layer) in enumerate(sorted(found))
    }


def _read(path: Path, name: str) -> NDArray[Any]:
    with h5py.File(path, "r") as file:
        return np.asarray(file[name])
