"""What the end points of a base net see and cost, read from its layers."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import keras

from ssdcore.contract.backbones import Backbone
from ssdcore.errors import PluginError
from ssdcore.model.layer_calls import Call, Tensor, innermost_calls, operation_name
from ssdcore.model.receptive_field import Sees, Sight, sights

_WEIGHTED = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Dense,
)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
# Their weights may have the shape of the map, and are no kernels.
_NO_KERNEL = (keras.layers.PReLU, keras.layers.LayerNormalization, keras.layers.Normalization, keras.layers.Embedding)
_PRODUCTS = (keras.layers.Attention, keras.layers.AdditiveAttention, keras.layers.Dot)
_PRODUCT_OPERATIONS = {
    *("Conv", "DepthwiseConv", "SeparableConv", "ConvTranspose"),
    *("Matmul", "Dot", "Einsum", "Inner", "Outer", "Tensordot", "Vdot", "DotProductAttention"),
}


@dataclass(frozen=True)
class EndPoint:
    """One end point of a base net at one image size.

    Attributes:
        name: by which the base net gives it.
        size: height and width, cells.
        channels: of each cell.
        stride: distance of neighbouring cells, px of the image; where rows and columns differ, the greater.
        receptive_field: side of the square of the image that a cell depends on, px, as if the image had no edge;
            None where it sees everything, and where a layer of unknown kind lies before it.
        sees_everything: some of it comes from the whole image, as behind squeeze-and-excitation.
        parameters: numbers that a file of weights holds for it and what it is made from.
        macs: multiplications of convolutions and dense layers up to it, for one image; None where a layer of
            unknown kind has kernels.
    """

    name: str
    size: tuple[int, int]
    channels: int
    stride: int
    receptive_field: int | None
    sees_everything: bool
    parameters: int
    macs: int | None


def base_net_end_points(backbone: Backbone, image_size: int) -> list[EndPoint]:
    """The end points of a backbone for square images of so many px, in its order.

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

    Raises:
        PluginError: an end point is no map of known size, or is not made from the input.
    """
    for name, tensor in end_points.items():
        if len(tensor.shape) != 4 or None in tensor.shape[1:]:
            raise PluginError(
                f"end point {name!r} has the shape {tensor.shape}; return a map (B, H, W, C) whose size is known"
            )
    try:
        seen = sights(inputs, end_points.values())
    except KeyError:
        raise PluginError("an end point is made from another input than that of the base net; use that one") from None
    return [_describe(name, end_points[name], sight) for name, sight in zip(end_points, seen, strict=True)]


def _describe(name: str, tensor: Tensor, sight: Sight) -> EndPoint:
    _, height, width, channels = tensor.shape
    calls = list(innermost_calls([tensor]))
    layers = {one.operation for one in calls if isinstance(one.operation, keras.layers.Layer)}
    return EndPoint(
        name=name,
        size=(height, width),
        channels=channels,
        stride=max(1, *(round(side.step) for side in sight.sides)),
        receptive_field=max(side.field for side in sight.sides) if sight.sees is Sees.WINDOW else None,
        sees_everything=sight.sees is Sees.EVERYTHING,
        parameters=sum(layer.count_params() for layer in layers),
        macs=_macs(calls),
    )


def network_macs(network: keras.Model) -> int | None:
    """Multiplications of all convolutions and dense layers of a network for one image, those of models in it too.

    A layer counts as often as it is called. None where a layer of unknown kind has kernels.
    """
    return _macs(innermost_calls(network.outputs))


def _macs(calls: Iterable[Call]) -> int | None:
    total = 0
    for call in calls:
        macs = _call_macs(call)
        if macs is None:
            return None
        total += macs
    return total


def _call_macs(call: Call) -> int | None:
    """Multiplications by the kernels of a layer, without its bias; None where they are not known."""
    layer = call.operation
    if isinstance(layer, _SEPARABLE):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, (*_WEIGHTED, *_TRANSPOSED)):
        kernels = [layer.kernel]
    else:
        return None if _multiplies(call) else 0
    # A transposed convolution spreads each cell that it is given.
    shape = (call.input_tensors if isinstance(layer, _TRANSPOSED) else call.outputs)[0].shape[1:-1]
    return None if None in shape else math.prod(shape) * sum(math.prod(one.shape) for one in kernels)


def _multiplies(call: Call) -> bool:
    """Whether an operation, or layer of unknown kind, holds kernels or multiplies maps as matrices."""
    layer = call.operation
    if not isinstance(layer, keras.layers.Layer):
        return operation_name(call) in _PRODUCT_OPERATIONS
    kernels = not isinstance(layer, _NO_KERNEL) and any(len(one.shape) > 1 for one in layer.weights)
    return kernels or isinstance(layer, _PRODUCTS)
