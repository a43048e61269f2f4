"""Names of MobileNet v1's variables in public checkpoints."""

import re
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ssdcore import CheckpointMap, Source, caffe_batch_norm, flip_channels

Array = NDArray[Any]


def keras_names(name: str) -> Sequence[Source]:
    """`Conv2d_0/kernel` is `conv1/kernel`, `Conv2d_3_depthwise/kernel` is
    `conv_dw_3/depthwise_kernel`, since Keras 3 `conv_dw_3/kernel`, `Conv2d_3_pointwise_bn/gamma` is
    `conv_pw_3_bn/gamma`."""
    name = re.sub(r"Conv2d_(\d+)_(d|p)(?:epth|oint)wise", r"conv_\2w_\1", name.replace("Conv2d_0", "conv1"))
    older = re.sub(r"(conv_dw_\d+)/kernel", r"\1/depthwise_kernel", name)
    return [Source((one,)) for one in dict.fromkeys((older, name))]


def slim_names(name: str) -> Sequence[Source]:
    """`Conv2d_0/kernel` is `MobilenetV1/Conv2d_0/weights`, `Conv2d_3_depthwise/kernel` is
    `MobilenetV1/Conv2d_3_depthwise/depthwise_weights`, `Conv2d_0_bn/gamma` is
    `MobilenetV1/Conv2d_0/BatchNorm/gamma`."""
    name = name.replace("_bn/", "/BatchNorm/").replace("depthwise/kernel", "depthwise/depthwise_weights")
    return [Source((f"MobilenetV1/{name.replace('/kernel', '/weights')}",))]


def caffe_names(name: str) -> Sequence[Source]:
    """`Conv2d_0` is `conv0`, `Conv2d_3_depthwise` `conv3/dw`, `Conv2d_3_pointwise` `conv3`."""
    layer, _, variable = name.partition("/")
    caffe = layer.removesuffix("_bn").replace("Conv2d_", "conv").replace("_depthwise", "/dw").replace("_pointwise", "")
    if layer.endswith("_bn"):
        return caffe_batch_norm(caffe, variable)
    convert = depthwise_kernel if caffe.endswith("/dw") else flip_channels if caffe == "conv0" else None
    return [Source((f"{caffe}/{variable}",), convert)]


def depthwise_kernel(kernel: Array) -> Array:
    """(height, width, 1, channels), as Caffe's grouped convolution has it, to (height, width, channels, 1)."""
    return kernel.transpose(0, 1, 3, 2)


TENSORFLOW = {"keras-applications": CheckpointMap(keras_names), "tf-slim": CheckpointMap(slim_names)}
"""Files of networks with TensorFlow's padding."""

CAFFE = {"caffe": CheckpointMap(caffe_names)}
"""Files of networks with Caffe's padding."""
