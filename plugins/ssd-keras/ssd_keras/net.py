"""Rebuilds a Keras application as a base net, with the layer defaults of an arg scope."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ssd_keras.applications import Application
from ssdcore import ArgScope, BatchNorm

Tensor = Any
Layer = Any

_END_POINTS = ("Activation", "Add", "Concatenate", "CustomScaleLayer", "LayerNormalization", "ReLU")
"""Classes of layers whose output is an end point."""


def arg_scope_of(application: Application) -> Callable[..., ArgScope]:
    """The arg scope factory of an application."""

    def arg_scope(*, weight_decay: float = 4e-5, data_format: str = "channels_last") -> ArgScope:
        norm = None if application.momentum is None else BatchNorm(momentum=application.momentum)
        return ArgScope(weight_decay, data_format, norm=norm)

    return arg_scope


def build(inputs: Tensor, scope: ArgScope, *, application: Application) -> tuple[Tensor, dict[str, Tensor]]:
    """The layers of an application up to its last end point, without classifier and preprocessing.

    `scope` sets the weight decay, the data format and the momentum of batch normalisation; initialisers,
    activations and epsilons are those of the architecture, as the published weights require.

    Args:
        inputs: (B, H, W, 3), or (B, 3, H, W) if the scope says so; H and W are known.
        scope: layer defaults.
        application: what to build.

    Returns:
        The last map; and the outputs of activations, sums and concatenations by layer name.
    """
    import keras

    with _data_format(scope.data_format):
        builder = getattr(keras.applications, application.builder)
        original = builder(weights=None, include_top=False, input_shape=tuple(inputs.shape[1:]))
        rebuilding = _Rebuilding(scope, _lasting_names(original))
        keras.models.clone_model(original, inputs, lambda layer: layer, rebuilding.call)
    end_points = rebuilding.end_points
    net = end_points[application.end_points[-1]]
    row = 1 if scope.data_format == "channels_last" else 2
    return net, {name: one for name, one in end_points.items() if one.shape[row] >= net.shape[row]}


@contextmanager
def _data_format(name: str) -> Iterator[None]:
    """Layers built inside have this data format."""
    import keras

    before = keras.config.image_data_format()
    keras.config.set_image_data_format(name)
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


class _Rebuilding:
    """Rebuilds and calls each layer of an application."""

    def __init__(self, scope: ArgScope, names: dict[str, str]) -> None:
        self.scope, self.names = scope, names
        self.end_points: dict[str, Tensor] = {}
        self.padded: list[Tensor] = []

    def call(self, layer: Layer, *args: Any, **kwargs: Any) -> Tensor:
        """Calls a rebuilt `layer`."""
        import keras

        if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
            return args[0]
        if isinstance(layer, keras.Sequential):
            net = args[0]
            for inner in layer.layers:
                net = self.call(inner, net)
            return net
        own_padding = not any(args[0] is one for one in self.padded)
        new = rebuilt(layer, self.names.get(layer.name, layer.name), self.scope, own_padding)
        net = new(*args, **kwargs)
        if isinstance(layer, keras.layers.ZeroPadding2D):
            self.padded.append(net)
        if type(layer).__name__ in _END_POINTS:
            self.end_points[new.name] = net
        return net


def rebuilt(layer: Layer, name: str, scope: ArgScope, own_padding: bool) -> Layer:
    """A new layer like `layer`.

    Args:
        layer: of an application.
        name: of the new one.
        scope: layer defaults.
        own_padding: it does not follow a padding layer; then it pads as TensorFlow's SAME, so that 75 cells
            are halved to 38.
    """
    from ssd_keras.layers import LayerScale, StochasticDepth
    from ssdcore import FusedBatchNormalization

    config = layer.get_config() | {"name": name}
    if own_padding and config.get("padding") == "valid":
        config["padding"] = "same"
    config |= _decay(layer, scope)
    kind = type(layer).__name__
    if kind == "BatchNormalization":
        momentum = scope.norm.momentum if scope.norm else layer.momentum
        return FusedBatchNormalization.from_config(config | {"momentum": momentum})
    if kind == "Dense":
        return _pointwise(config)
    if kind == "LayerScale":
        return LayerScale.from_config(config)
    if kind in ("Dropout", "StochasticDepth"):
        rate = config["rate"] if kind == "Dropout" else config["drop_path_rate"]
        return StochasticDepth(rate, name=name, dtype=layer.dtype_policy)
    return type(layer).from_config(config)


def _decay(layer: Layer, scope: ArgScope) -> dict[str, Any]:
    """The regulariser of a convolution, unless depthwise."""
    import keras

    kinds = {"SeparableConv2D": "pointwise_regularizer", "Conv2D": "kernel_regularizer", "Dense": "kernel_regularizer"}
    key = kinds.get(type(layer).__name__)
    if key is None or not scope.weight_decay or getattr(layer, "groups", 1) > 1:
        return {}
    return {key: keras.regularizers.L2(scope.weight_decay / 2)}


def _pointwise(config: dict[str, Any]) -> Layer:
    """A fully connected layer over channels as a 1x1 convolution."""
    import keras

    same = ("name", "dtype", "activation", "use_bias", "kernel_initializer", "bias_initializer", "kernel_regularizer")
    kept = {key: config[key] for key in same} | {"filters": config["units"], "kernel_size": 1}
    return keras.layers.Conv2D.from_config(kept)


def _lasting_names(model: Any) -> dict[str, str]:
    """New names for layers with default names, whose numbers depend on what was built before: numbered from 0.

    `conv2d_107` becomes `conv2d`, the next one `conv2d_1`, as in a new process.
    """
    numbered: dict[str, list[tuple[int, str]]] = {}
    for layer in model.operations:
        base, _, number = layer.name.rpartition("_") if layer.name[-1].isdecimal() else (layer.name, "", "0")
        if number.isdecimal() and base.replace("_", "") == type(layer).__name__.lower():
            numbered.setdefault(base, []).append((int(number), layer.name))
    return {
        old: f"{base}_{rank}" if rank else base
        for base, found in numbered.items()
        for rank, (_, old) in enumerate(sorted(found))
    }
