"""Reads Caffe's `.caffemodel` files, of the old (V1) and the new layer format."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from ssdcore.contract.checkpoint_maps import CAFFE_EPSILON
from ssdcore.errors import CheckpointError
from ssdcore.weights.caffe_schema import V1_TYPES, NetParameter
from ssdcore.weights.stored import StoredArray

_LARGEST = 2**31 - 1
_CONVOLUTIONS = ("Convolution", "DepthwiseConvolution", "ConvolutionDepthwise")
Array = NDArray[Any]


def read_caffe(path: Path) -> dict[str, StoredArray]:
    """The weights of a `.caffemodel` by `layer/what`.

    Convolutions give `kernel` (height, width, in, out), of a depthwise one (height, width, 1,
    channels), and `bias`; InnerProduct `kernel` (in, out) and `bias`; BatchNorm `moving_mean` and
    `moving_variance`, divided by its factor and adapted to an epsilon of 1e-5; Scale `gamma` and
    `beta`; Normalize `gamma`. Blobs of other layers are numbered.

    Raises:
        CheckpointError: the file is no Caffe model, is truncated, or contradicts itself.
    """
    if path.stat().st_size > _LARGEST:
        raise CheckpointError(f"{path.absolute()} is over 2 GiB, more than a Caffe model can be; give a .caffemodel")
    try:
        net = NetParameter.FromString(path.read_bytes())
    except DecodeError:
        raise CheckpointError(
            f"{path.absolute()} is no Caffe model, or a truncated one; give the whole .caffemodel"
        ) from None
    arrays: dict[str, StoredArray] = {}
    for layer in [*net.layers, *net.layer]:
        for name, values in _layer_arrays(path, layer):
            if name in arrays:
                raise CheckpointError(f"{path.absolute()}: two arrays are called {name}; is it one model?")
            arrays[name] = StoredArray(values.shape, values.dtype, partial(np.asarray, values))
    if not arrays:
        raise CheckpointError(f"{path.absolute()} holds no layers with weights; give a .caffemodel")
    return arrays


def _layer_arrays(path: Path, layer: Any) -> Iterator[tuple[str, Array]]:
    """The arrays of a layer under their final names."""
    kind = V1_TYPES.get(layer.type, "") if isinstance(layer.type, int) else layer.type
    blobs = [_blob(path, layer.name, index, blob) for index, blob in enumerate(layer.blobs)]
    if not blobs:
        return
    try:
        named = _named(kind, layer, blobs)
    except (ValueError, IndexError) as error:
        shapes = ", ".join(str(blob.shape) for blob in blobs)
        raise CheckpointError(
            f"{path.absolute()}: the {kind} layer {layer.name!r} cannot have blobs of shape {shapes} ({error})"
        ) from None
    for name, values in named.items():
        yield f"{_printable(layer.name)}/{name}", values


def _printable(name: str | bytes) -> str:
    """A layer's name with unprintable characters and invalid bytes escaped."""
    return str(name).encode("unicode_escape").decode()


def _named(kind: str, layer: Any, blobs: list[Array]) -> dict[str, Array]:
    if kind in _CONVOLUTIONS:
        return {"kernel": blobs[0].transpose(2, 3, 1, 0), **_bias(blobs)}
    if kind == "InnerProduct":
        return {"kernel": blobs[0].reshape(blobs[0].shape[-2:]).T, **_bias(blobs)}
    if kind == "BatchNorm":
        return _batch_norm(layer, blobs)
    if kind == "Scale":
        return {name: blob.reshape(-1) for name, blob in zip(("gamma", "beta"), blobs, strict=False)}
    if kind == "Normalize":
        return {"gamma": blobs[0].reshape(-1)}
    return {str(index): blob for index, blob in enumerate(blobs)}


def _bias(blobs: list[Array]) -> dict[str, Array]:
    return {"bias": blobs[1].reshape(-1)} if len(blobs) > 1 else {}


def _batch_norm(layer: Any, blobs: list[Array]) -> dict[str, Array]:
    """Blobs are accumulated mean and variance, and the factor to divide them by."""
    factor = float(blobs[2].reshape(-1)[0])
    scale = 0.0 if factor == 0 else 1 / factor
    more = (layer.batch_norm_param.eps - CAFFE_EPSILON) if layer.batch_norm_param.HasField("eps") else 0.0
    mean, variance = blobs[0].reshape(-1) * scale, blobs[1].reshape(-1) * scale + more
    return {"moving_mean": mean.astype(blobs[0].dtype), "moving_variance": variance.astype(blobs[1].dtype)}


def _blob(path: Path, layer: str, index: int, blob: Any) -> Array:
    """The values of a blob in its shape.

    Raises:
        CheckpointError: the shape does not match the number of values; nothing is allocated for it.
    """
    doubles = bool(blob.double_data)
    dtype = np.dtype("<f8" if doubles else "<f4")
    data = b"".join(blob.double_data if doubles else blob.data)
    legacy = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else legacy
    if min(shape, default=1) < 1 or math.prod(shape) * dtype.itemsize != len(data):
        raise CheckpointError(
            f"{path.absolute()} is damaged: blob {index} of layer {layer!r} declares the shape {shape} and holds "
            f"{len(data) // dtype.itemsize} values; get the file again"
        )
    return np.frombuffer(data, dtype).reshape(shape)
