"""Checks of the layers of a base net."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from ssdcore.contract.arg_scope import BatchNorm
from ssdcore.params import Preprocessing
from ssdcore.testing.subject import DECAY, Subject, as_model, layers_of, require

_RESCALING = (keras.layers.Rescaling, keras.layers.Normalization)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_MOMENTUM = 0.625


def base_net_gives_maps(subject: Subject) -> None:
    """`base_net(inputs, scope)` returns `(net, end_points)`, all maps (B, H, W, C)."""
    _, net, end_points = subject.base_net
    require(bool(end_points), "base_net must return its end points by name; it returned none")
    for name, tensor in {"net": net, **end_points}.items():
        shape = tuple(tensor.shape)
        require(len(shape) == 4, f"{name} must be a map (B, H, W, C), not {shape}")
        last = len(shape) == 4 and shape[1] == shape[2]
        require(last, f"{name} is {shape}, not (B, H, W, C): a square image must give a square map, channels last")


def convolutional_only(subject: Subject) -> None:
    """There are no fully connected layers."""
    for layer in layers_of(subject.network):
        # Inside of other layers there is no symbolic input to look at. On a map or on tokens a dense layer is a 1x1
        # convolution.
        rank = len((layer.get_build_config() or {}).get("input_shape") or ())
        mixes_all = isinstance(layer, keras.layers.Flatten) or (isinstance(layer, keras.layers.Dense) and rank == 2)
        require(
            not mixes_all,
            f"{layer.name} is fully connected; end the base net before it, or on a map (B, 1, 1, C) make it a 1x1 "
            "convolution",
        )


def scope_is_applied(subject: Subject) -> None:
    """Kernels have the arg scope's weight decay, batch normalisation its momentum; the data format is passed on."""
    network = subject.network
    for data_format in ("channels_last", "channels_first"):
        found = subject.backbone.arg_scope(weight_decay=DECAY, data_format=data_format)
        require(
            (found.weight_decay, found.data_format) == (DECAY, data_format),
            f"arg_scope(weight_decay={DECAY}, data_format={data_format!r}) returned {found!r}; pass both on",
        )
    for layer, kernel in _decayed_kernels(network):
        part = f" ({kernel.name})" if kernel.name != "kernel" else ""
        require(
            _has_decay(kernel),
            f"the kernel of {layer.name}{part} does not carry the arg scope's weight_decay; build layers by the "
            "scope, or give them kernel_regularizer=keras.regularizers.L2(scope.weight_decay / 2) ("
            "pointwise_regularizer= of a separable convolution, regularizer= of add_weight)",
        )
    _momentum_is_applied(subject)


def _decayed_kernels(network: keras.Model) -> Iterator[tuple[Any, Any]]:
    """The kernels that need weight decay, each with its layer: not depthwise ones, nor projections of attention."""
    # Inner layers come after outer ones and replace them as owners.
    owners = {id(one): layer for layer in layers_of(network) for one in layer.trainable_variables}
    for variable in network.trainable_variables:
        layer = owners[id(variable)]
        if len(variable.shape) < 2 or isinstance(layer, keras.layers.EinsumDense) or _is_depthwise(layer, variable):
            continue
        # A custom layer's variable (h, h, in, out) is a kernel by another name.
        square = len(variable.shape) == 4 and variable.shape[0] == variable.shape[1]
        if "kernel" in variable.name or (square and not _is_of_keras(layer)):
            yield layer, variable


def _is_depthwise(layer: Any, variable: Any) -> bool:
    """Depthwise kernels have no weight decay, as in MobileNet's own training."""
    if isinstance(layer, _DEPTHWISE) or "depthwise" in variable.name:
        return True
    if _is_of_keras(layer):
        return 1 < getattr(layer, "groups", 1) == layer.filters
    return len(variable.shape) == 4 and 1 in variable.shape[2:]


def _is_of_keras(layer: Any) -> bool:
    return type(layer).__module__.startswith("keras.")


def _has_decay(kernel: Any) -> bool:
    """Whether a kernel of twos would cost `DECAY / 2 * sum(w²)`."""
    cost = getattr(kernel, "regularizer", None) and kernel.regularizer(keras.ops.full(kernel.shape, 2.0))
    return cost is not None and bool(np.isclose(float(cost), DECAY / 2 * 4 * np.prod(kernel.shape), rtol=1e-3))


def _momentum_is_applied(subject: Subject) -> None:
    scope = subject.scope
    if not isinstance(scope.norm, BatchNorm):
        return
    changed = scope.override(norm=replace(scope.norm, momentum=_MOMENTUM))
    for layer in layers_of(as_model(*subject.make_base_net(300, changed))):
        require(
            not isinstance(layer, keras.layers.BatchNormalization) or layer.momentum == _MOMENTUM,
            f"{layer.name} does not take its momentum from scope.norm, so model.norm_momentum could not change it; "
            "build layers by the scope, or give it momentum=scope.norm.momentum",
        )


def preprocessing_is_plausible(subject: Subject) -> None:
    """Preprocessing maps pixels from 0 to 255 to a usual input range."""
    stated = subject.backbone.preprocessing
    require(
        not any(0 < mean < 1.5 for mean in stated.mean),
        f"preprocessing.mean {stated.mean} is for images from 0 to 1, but pixels are from 0 to 255: multiply it by 255",
    )
    scale = np.broadcast_to(np.asarray(stated.scale, np.float64), (3,))
    ends = [(value - np.asarray(stated.mean)) * scale for value in (0.0, 255.0)]
    low, high = float(np.min(ends[0])), float(np.max(ends[1]))
    require(
        high - low > 0.9 and max(-low, high) <= 256,
        f"preprocessing maps pixels from 0 to 255 to {low:.3g} to {high:.3g}; usual are 0 to 1, -1 to 1, about -2.5 to "
        "2.5, or 0 to 255 minus a mean: state what the weights were trained with",
    )
    twice = [layer.name for layer in layers_of(subject.network) if isinstance(layer, _RESCALING)]
    require(
        not twice or stated == Preprocessing(),
        f"{', '.join(twice)} in the base net scales images that preprocessing has scaled already; remove one of them",
    )
