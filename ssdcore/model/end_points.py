"""What the end points of a base net see and cost, read from its layers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from ssdcore.backbones import Backbone
from ssdcore.errors import PluginError

Tensor = Any
_WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Dense)
_POOLS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
_WHOLE_MAP = (
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Dense,
    keras.layers.Flatten,
)


@dataclass(frozen=True)
class EndPoint:
    """One end point of a base net at one image size.

    Attributes:
        name: by which the base net gives it.
        size: height and width, cells.
        channels: of each cell.
        stride: distance of neighbouring cells, px of the image.
        receptive_field: side of the square of the image that a cell depends on, px; None where some of it
            comes from the whole image, as behind squeeze-and-excitation. (Araujo et al. 2019, "Computing Receptive
            Fields of Convolutional Neural Networks", eq. 2.)
        parameters: numbers that a file of weights holds for it and what it is made from.
        macs: multiplications of convolutions and dense layers up to it, for one picture.
    """

    name: str
    size: tuple[int, int]
    channels: int
    stride: int
    receptive_field: int | None
    parameters: int
    macs: int


class _Seen(NamedTuple):
    """What lies behind a tensor: stride and receptive field, px, and the layers that it is made by."""

    stride: int
    field: float
    layers: frozenset[Any]


def base_net_end_points(backbone: Backbone, image_size: int) -> list[EndPoint]:
    """The end points of a backbone for square pictures of so many px, in its order.

    Raises:
        PluginError: the base net cannot be built at this size.
    """
    inputs = keras.Input((image_size, image_size, 3))
    try:
        _, found = backbone.base_net(inputs, backbone.arg_scope(weight_decay=0.0, data_format="channels_last"))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise PluginError(
            f"the base net of {backbone.name!r} cannot be built for {image_size}x{image_size} px: "
            f"{type(error).__name__}: {reason:.300}"
        ) from error
    return describe_end_points(inputs, found)


def describe_end_points(inputs: Tensor, end_points: Mapping[str, Tensor]) -> list[EndPoint]:
    """Describes the end points of a base net.

    Args:
        inputs: the Keras input (B, H, W, 3) that it was built on.
        end_points: what it gave: name -> (B, H, W, C).

    Returns:
        One each, in the order given.
    """
    model = keras.Model(inputs, list(end_points.values()))
    seen = {id(inputs): _Seen(1, 1, frozenset())}
    for operation in model.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        behind = _behind(operation, [seen[id(one)] for one in _tensors(operation.input)])
        seen |= {id(one): behind for one in _tensors(operation.output)}
    return [_describe(name, tensor, seen[id(tensor)]) for name, tensor in end_points.items()]


def _tensors(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _behind(operation: Any, inputs: list[_Seen]) -> _Seen:
    stride = max(one.stride for one in inputs)
    field = max(one.field for one in inputs)
    if isinstance(operation, _WHOLE_MAP):
        field = math.inf
    kernel, step = _window(operation)
    layers = frozenset([operation]).union(*(one.layers for one in inputs))
    return _Seen(stride * step, field + (kernel - 1) * stride, layers)


def _window(operation: Any) -> tuple[int, int]:
    """Cells that a window of a layer spans along a side, and the step from window to window."""
    if isinstance(operation, _POOLS):
        return operation.pool_size[0], operation.strides[0]
    if isinstance(operation, _WEIGHTED) and not isinstance(operation, keras.layers.Dense):
        return 1 + (operation.kernel_size[0] - 1) * operation.dilation_rate[0], operation.strides[0]
    return 1, 1


def _describe(name: str, tensor: Tensor, seen: _Seen) -> EndPoint:
    _, height, width, channels = tensor.shape
    layers = [one for one in seen.layers if isinstance(one, keras.layers.Layer)]
    return EndPoint(
        name=name,
        size=(height, width),
        channels=channels,
        stride=seen.stride,
        receptive_field=None if math.isinf(seen.field) else int(seen.field),
        parameters=sum(layer.count_params() for layer in layers),
        macs=sum(layer_macs(layer) for layer in layers),
    )


def layer_macs(layer: Any) -> int:
    """Multiplications of a convolution or dense layer for one picture, without its bias; 0 for other layers."""
    if not isinstance(layer, _WEIGHTED):
        return 0
    cells = math.prod(layer.output.shape[1:-1])
    if isinstance(layer, keras.layers.SeparableConv2D):
        return cells * sum(math.prod(kernel.shape) for kernel in (layer.depthwise_kernel, layer.pointwise_kernel))
    return cells * math.prod(layer.kernel.shape)


def network_macs(network: keras.Model) -> int:
    """Multiplications of all convolutions and dense layers of a network for one picture, those of models in it too."""
    layers = network.layers
    return sum(network_macs(one) if isinstance(one, keras.Model) else layer_macs(one) for one in layers)
