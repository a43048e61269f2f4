"""Names of the variables of `ssd_keras.net` in weights files of Keras Applications."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ssd_keras.applications import Application
from ssdcore import CheckpointMap, Source

Array = NDArray[Any]


def keras_names(name: str) -> Sequence[Source]:
    """Layers have the names in the files, except for:

    - kernels of depthwise convolutions before Keras 3: `layer/depthwise_kernel`;
    - unnamed variables: `layer/variable` for `layer/gamma`;
    - MobileNetV3's layers before Keras 3, such as `expanded_conv_1/depthwise/BatchNorm`.
    """
    layer, _, variable = name.partition("/")
    convert = as_convolution if re.search(r"_pointwise_conv_\d$", layer) else None
    variables = [variable, *{"kernel": ["depthwise_kernel"], "gamma": ["variable"]}.get(variable, [])]
    layers = dict.fromkeys((layer, mobilenet_v3_layer(layer)))
    return [Source((f"{there}/{one}",), convert if one == "kernel" else None) for there in layers for one in variables]


def mobilenet_v3_layer(name: str) -> str:
    """`conv_1_bn` as `Conv_1/BatchNorm`, `expanded_conv_3_squeeze_excite_conv` as
    `expanded_conv_3/squeeze_excite/Conv`."""
    name = re.sub(r"_bn$", "/BatchNorm", name)
    name = re.sub(r"^conv", "Conv", name)
    name = re.sub(r"_(expand|depthwise|project|squeeze_excite)", r"/\1", name)
    return name.replace("squeeze_excite_conv", "squeeze_excite/Conv")


def as_convolution(kernel: Array) -> Array:
    """The kernel (in, out) of a fully connected layer over channels as a 1x1 kernel."""
    return kernel[None, None]


def checkpoints_of(application: Application) -> Mapping[str, CheckpointMap]:
    """The checkpoint maps of an application."""
    others = dict.fromkeys(application.deeper, f"a deeper network than {application.builder}")
    return {"keras-applications": CheckpointMap(keras_names, others=others)}
