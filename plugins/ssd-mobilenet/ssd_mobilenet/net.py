"""The convolutions of MobileNet v1 (arXiv:1704.04861)."""

from typing import Any

from ssdcore import CAFFE_EPSILON, ArgScope, BatchNorm

# (stride, filters at width 1) of the depthwise-separable convolutions 1 to 13.
SEPARABLE = (
    *((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512)),
    *((1, 512),) * 5,
    *((2, 1024), (1, 1024)),
)


def mobilenet_arg_scope(*, weight_decay: float = 4e-5, data_format: str = "channels_last") -> ArgScope:
    """Batch normalisation, ReLU6, truncated normal weights of deviation 0.09; depthwise kernels
    are not decayed (TF-slim's settings)."""
    import keras

    return ArgScope(
        weight_decay,
        data_format,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.09),
        activation="relu6",
        norm=BatchNorm(momentum=0.9997, epsilon=1e-3),
    )


def caffe_arg_scope(*, weight_decay: float = 5e-5, data_format: str = "channels_last") -> ArgScope:
    """As chuanqi305's Caffe MobileNet-SSD: plain ReLU, and Caffe's epsilon."""
    scope = mobilenet_arg_scope(weight_decay=weight_decay, data_format=data_format)
    return scope.override(activation="relu", norm=BatchNorm(momentum=0.999, epsilon=CAFFE_EPSILON))


def mobilenet_v1(
    inputs: Any, scope: ArgScope, *, width: float, first_stride: int, padding: str | int
) -> tuple[Any, dict[str, Any]]:
    """Conv2d_0 to Conv2d_13_pointwise.

    Args:
        inputs: (B, H, W, 3).
        scope: layer defaults.
        width: factor on all channel counts (the paper's alpha).
        first_stride: of Conv2d_0; 2 as in the paper, 1 for maps twice as fine.
        padding: of the 3x3 convolutions: "same" as TensorFlow does it, or 1 px on every side as Caffe.
    """
    net = scope.conv2d(inputs, int(32 * width), 3, strides=first_stride, padding=padding, name="Conv2d_0")
    end_points = {"Conv2d_0": net}
    for index, (stride, filters) in enumerate(SEPARABLE, start=1):
        name = f"Conv2d_{index}_depthwise"
        net = end_points[name] = scope.depthwise_conv2d(net, 3, strides=stride, padding=padding, name=name)
        name = f"Conv2d_{index}_pointwise"
        net = end_points[name] = scope.conv2d(net, int(filters * width), 1, name=name)
    return net, end_points
