"""Receptive fields, strides and cost of the end points of a base net, by measurement."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from ssdcore.contract.backbones import Backbone
from ssdcore.errors import PluginError
from ssdcore.model.cost import NetworkGraph, operations_behind
from ssdcore.model.receptive_field import Side, measure, randomize_vectors
from ssdcore.types import Tensor


@dataclass(frozen=True)
class EndPoint:
    """One end point of a base net at one image size.

    Attributes:
        name: in the base net.
        size: height and width, cells.
        channels: per cell.
        stride: distance of neighbouring cells, px of the image; where rows and columns differ, the greater.
        receptive_field: side of the square of the image that a cell depends on, px, as if the image had no edge;
            None if `sees_everything`, and if no gradient reaches the image.
        sees_everything: its cells depend on the whole image, as after squeeze-and-excitation: somewhere on the way
            the window of a cell in the middle reaches from edge to edge.
        parameters: of all layers up to it, with moving statistics.
        macs: multiplications of convolutions and matrix products up to it, for one image; None if an operation
            of unknown cost comes before it.
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
    """Describes the end points of a backbone for square images of `image_size` px, in its order.

    Raises:
        PluginError: the base net cannot be built at this size.
    """
    inputs = keras.Input((image_size, image_size, 3))
    try:
        _, found = backbone.base_net(inputs, backbone.arg_scope(weight_decay=0.0, data_format="channels_last"))
    except Exception as error:
        raise PluginError(
            f"the base net of {backbone.name!r} cannot be built for {image_size}x{image_size} px: "
            f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
        ) from error
    return describe_end_points(inputs, found)


def describe_end_points(inputs: Tensor, end_points: Mapping[str, Tensor]) -> list[EndPoint]:
    """Describes the end points of a base net. Overwrites its biases and normalisation with random numbers.

    Args:
        inputs: the Keras input (B, H, W, 3) of the base net.
        end_points: name -> (B, H, W, C).

    Returns:
        One each, in the given order.

    Raises:
        PluginError: an end point is no map of known size, or is not computed from the input.
    """
    for name, tensor in end_points.items():
        if len(tensor.shape) != 4 or None in tensor.shape[1:]:
            raise PluginError(
                f"end point {name!r} has the shape {tensor.shape}; return a map (B, H, W, C) whose size is known"
            )
    try:
        network = keras.Model(inputs, list(end_points.values()))
    except ValueError as error:
        raise PluginError(
            "the end points are not computed from the input of the base net alone "
            f"({' '.join(str(error).split()):.200}); use that input, and distinct layer names"
        ) from None
    graph = NetworkGraph(network)
    randomize_vectors(network)
    sides = measure(inputs, list(end_points.values()))
    return [
        _describe(name, tensor, seen, graph, operations_behind(output))
        for (name, tensor), seen, output in zip(end_points.items(), sides, graph.outputs, strict=True)
    ]


def _describe(
    name: str, tensor: Tensor, sides: tuple[Side, Side], graph: NetworkGraph, operations: Collection[Any]
) -> EndPoint:
    _, height, width, channels = tensor.shape
    fields = [side.size for side in sides]
    return EndPoint(
        name=name,
        size=(height, width),
        channels=channels,
        stride=max(1, *(round(side.stride) for side in sides)),
        receptive_field=max(filter(None, fields)) if all(fields) else None,
        sees_everything=None in fields,
        parameters=graph.parameters(operations),
        macs=graph.macs(operations),
    )


def network_macs(network: keras.Model) -> int | None:
    """Multiplications of a network for one image in evaluation, as `EndPoint.macs` counts them."""
    graph = NetworkGraph(network)
    return graph.macs(set().union(*map(operations_behind, graph.outputs)))
