"""The convolutions of MobileNet v1 (arXiv:1704.04861)."""

import re
from typing import Any

from ssdcore import ArgScope, BatchNorm

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


def mobilenet_v1(inputs: Any, scope: ArgScope, *, width: float, first_stride: int) -> tuple[Any, dict[str, Any]]:
    """Conv2d_0 to Conv2d_13_pointwise, all padded SAME.

    Args:
        inputs: (B, H, W, 3).
        scope: layer defaults.
        width: factor on all channel counts (the paper's alpha).
        first_stride: of Conv2d_0; 2 as in the paper, 1 for maps twice as fine.
    """
    net = scope.conv2d(inputs, int(32 * width), 3, strides=first_stride, name="Conv2d_0")
    end_points = {"Conv2d_0": net}
    for index, (stride, filters) in enumerate(SEPARABLE, start=1):
        name = f"Conv2d_{index}_depthwise"
        net = end_points[name] = scope.depthwise_conv2d(net, 3, strides=stride, name=name)
        name = f"Conv2d_{index}_pointwise"
        net = end_points[name] = scope.conv2d(net, int(filters * width), 1, name=name)
    return net, end_points


def keras_name(name: str) -> str:
    """The name in Keras Applications' weight files of one of our variables.

    `Conv2d_0/kernel` -> `conv1/kernel`; `Conv2d_3_depthwise/kernel` -> `conv_dw_3/depthwise_kernel`;
    `Conv2d_3_pointwise_bn/gamma` -> `conv_pw_3_bn/gamma`.
    """
    name = name.replace("Conv2d_0", "conv1").replace("depthwise/kernel", "depthwise/depthwise_kernel")
    return re.sub(r"Conv2d_(\d+)_(d|p)(?:epth|oint)wise", r"conv_\2w_\1", name)
