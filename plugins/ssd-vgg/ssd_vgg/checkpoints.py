"""Names of VGG-16's variables in public checkpoints, and the conversion of its fully connected layers to block7."""

import re
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ssdcore import CheckpointMap, Source, flip_channels

Array = NDArray[Any]

SLIM = {"kernel": "weights", "bias": "biases"}
KERAS_OLD = {"kernel": "W_1", "bias": "b_1"}
FC = {"block7_conv1": "fc6", "block7_conv2": "fc7"}


def decimate(values: Array, steps: tuple[int, ...]) -> Array:
    """Every `steps[i]`-th element along axis i, beginning with the first (arXiv:1412.7062, section 3)."""
    return values[tuple(slice(None, None, step) for step in steps)]


def fc6_kernel(kernel: Array) -> Array:
    """fc6 as the atrous 3x3 convolution of block7: taps 0, 3 and 6 of 7, every 4th output.

    Args:
        kernel: (7, 7, 512, 4096); (25088, 4096) with the inputs in that order; or (3, 3, 512, 1024),
            which is decimated already.
    """
    kernel = kernel.reshape(7, 7, 512, -1) if kernel.ndim == 2 else kernel
    return decimate(kernel, (3, 3, 1, 4)) if kernel.shape[:2] == (7, 7) else kernel


def caffe_fc6_kernel(kernel: Array) -> Array:
    """As `fc6_kernel`, for Caffe's inputs in the order channel, row, column."""
    if kernel.ndim == 2:
        kernel = kernel.reshape(512, 7, 7, -1).transpose(1, 2, 0, 3)
    return fc6_kernel(kernel)


def fc7_kernel(kernel: Array) -> Array:
    """fc7 as a 1x1 convolution: every 4th input and output.

    Args:
        kernel: (1, 1, 4096, 4096) or (4096, 4096); or (1, 1, 1024, 1024), decimated already.
    """
    kernel = kernel[None, None] if kernel.ndim == 2 else kernel
    return decimate(kernel, (1, 1, 4, 4)) if kernel.shape[2] == 4096 else kernel


def fc_bias(bias: Array) -> Array:
    """The bias of fc6 or fc7: every 4th of 4096, or 1024 unchanged."""
    return decimate(bias, (4,)) if len(bias) == 4096 else bias


def _parts(name: str) -> tuple[str, str]:
    layer, _, variable = name.partition("/")
    return layer, variable


def _block7(name: str, there: str, fc6: Any) -> Sequence[Source]:
    """The source of a variable of block7 in the array `there`."""
    layer, variable = _parts(name)
    kernel = fc6 if layer == "block7_conv1" else fc7_kernel
    return [Source((there,), kernel if variable == "kernel" else fc_bias)]


def slim_base_net(name: str) -> Sequence[Source]:
    """`conv1_2/kernel` is `vgg_16/conv1/conv1_2/weights`."""
    layer, variable = _parts(name)
    return [Source((f"vgg_16/{layer.partition('_')[0]}/{layer}/{SLIM[variable]}",))]


def slim_blocks(name: str) -> Sequence[Source]:
    layer, variable = _parts(name)
    return _block7(name, f"vgg_16/{FC[layer]}/{SLIM[variable]}", fc6_kernel) if layer in FC else ()


def keras_base_net(name: str) -> Sequence[Source]:
    """`conv1_2/kernel` is `block1_conv2/kernel`, in old files `block1_conv2/block1_conv2_W_1`; BGR."""
    layer, variable = _parts(name)
    there = re.sub(r"conv(\d)_(\d)", r"block\1_conv\2", layer)
    convert = flip_channels if name == "conv1_1/kernel" else None
    return [Source((f"{there}/{one}",), convert) for one in (variable, f"{there}_{KERAS_OLD[variable]}")]


def keras_blocks(name: str) -> Sequence[Source]:
    """fc6 and fc7 are `fc1` and `fc2`."""
    layer, variable = _parts(name)
    if layer not in FC:
        return ()
    there = {"fc6": "fc1", "fc7": "fc2"}[FC[layer]]
    return [
        source
        for one in (variable, f"{there}_{KERAS_OLD[variable]}")
        for source in _block7(name, f"{there}/{one}", fc6_kernel)
    ]


def caffe_base_net(name: str) -> Sequence[Source]:
    """Caffe's layers have our names; its images are BGR."""
    return [Source((name,), flip_channels if name == "conv1_1/kernel" else None)]


def caffe_blocks(name: str) -> Sequence[Source]:
    layer, variable = _parts(name)
    return _block7(name, f"{FC[layer]}/{variable}", caffe_fc6_kernel) if layer in FC else ()


CHECKPOINTS = {
    "caffe": CheckpointMap(caffe_base_net, caffe_blocks, {"conv3_4/kernel": "VGG-19"}),
    "keras-applications": CheckpointMap(
        keras_base_net,
        keras_blocks,
        {"block3_conv4/kernel": "VGG-19", "block3_conv4/block3_conv4_W_1": "VGG-19"},
    ),
    "tf-slim": CheckpointMap(slim_base_net, slim_blocks),
}
