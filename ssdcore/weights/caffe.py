"""Reads Caffe's `.caffemodel` files, of the old (V1) and the new layer format.

The part of the file format that holds weights is declared here as protobuf messages built at run time.
"""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from ssdcore.contract.checkpoint_maps import CAFFE_EPSILON
from ssdcore.errors import CheckpointError
from ssdcore.weights.stored import StoredArray

_LARGEST = 2**31 - 1
Array = NDArray[Any]

_V1_TYPES = {4: "Convolution", 14: "InnerProduct"}
"""Numbers of the layer types in the old format that have weights here."""

_MESSAGES = {
    "BlobShape": "1 dim int64*",
    "BlobProto": "1 num int32, 2 channels int32, 3 height int32, 4 width int32, 5 data bytes*, 7 shape BlobShape, "
    "8 double_data bytes*",
    "BatchNormParameter": "3 eps float",
    "LayerParameter": "1 name string, 2 type string, 7 blobs BlobProto*, 139 batch_norm_param BatchNormParameter",
    "V1LayerParameter": "4 name string, 5 type int32, 6 blobs BlobProto*",
    "NetParameter": "1 name string, 2 layers V1LayerParameter*, 100 layer LayerParameter*",
}
"""Message -> fields with numbers as in `caffe.proto`, `*` for repeated ones. Numbers in bulk are declared as bytes,
which have the same encoding as a packed list and become arrays without a Python object for each value."""


def _make_net_parameter() -> Any:
    """The message class of a whole `.caffemodel` file."""
    file = descriptor_pb2.FileDescriptorProto(name="ssdcore/caffe.proto", package="ssdcore_caffe", syntax="proto2")
    for message, fields in _MESSAGES.items():
        descriptor = file.message_type.add(name=message)
        for declaration in fields.split(", "):
            number, name, kind = declaration.split()
            field = descriptor.field.add(name=name, number=int(number))
            field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            if (plain := kind.removesuffix("*")) in _MESSAGES:
                field.type, field.type_name = field.TYPE_MESSAGE, f".ssdcore_caffe.{plain}"
            else:
                field.type = field.Type.Value(f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ssdcore_caffe.NetParameter"))


_NetParameter = _make_net_parameter()


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
        net = _NetParameter.FromString(path.read_bytes())
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
    kind = _V1_TYPES.get(layer.type, "") if isinstance(layer.type, int) else layer.type
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
    printable = str(layer.name).encode("unicode_escape").decode()  # the name may be invalid bytes
    for name, values in named.items():
        yield f"{printable}/{name}", values


def _named(kind: str, layer: Any, blobs: list[Array]) -> dict[str, Array]:
    bias = {"bias": blobs[1].reshape(-1)} if len(blobs) > 1 else {}
    match kind:
        case "Convolution" | "DepthwiseConvolution" | "ConvolutionDepthwise":
            return {"kernel": blobs[0].transpose(2, 3, 1, 0), **bias}
        case "InnerProduct":
            return {"kernel": blobs[0].reshape(blobs[0].shape[-2:]).T, **bias}
        case "BatchNorm":
            return _batch_norm(layer, blobs)
        case "Scale":
            return {name: blob.reshape(-1) for name, blob in zip(("gamma", "beta"), blobs, strict=False)}
        case "Normalize":
            return {"gamma": blobs[0].reshape(-1)}
    return {str(index): blob for index, blob in enumerate(blobs)}


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
