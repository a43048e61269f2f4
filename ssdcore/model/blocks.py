"""What the core attaches to a base net: preprocessing, L2 normalisation, SSD blocks and prediction heads."""

from collections.abc import Sequence
from typing import Any

import keras

from ssdcore.contract.arg_scope import ArgScope
from ssdcore.params import Block, Preprocessing
from ssdcore.types import Tensor


class Preprocess(keras.layers.Layer):
    """Maps RGB pixels 0..255 (B, H, W, 3) to the input of a base net; float32 in and out.

    It computes in float32 under every dtype policy: bfloat16 would round pixels to whole numbers.
    """

    def __init__(self, preprocessing: Preprocessing, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.preprocessing = preprocessing

    def call(self, images: Any) -> Any:
        if self.preprocessing.channel_order == "bgr":
            images = keras.ops.flip(images, axis=-1)
        return (images - keras.ops.array(self.preprocessing.mean)) * keras.ops.array(self.preprocessing.scale)


class L2Normalize(keras.layers.Layer):
    """Scales the channels at each pixel to L2 norm 1, then by a learned scale per channel.

    As in ParseNet; SSD applies it to conv4_3 (paper, section 3.1) with an initial scale of 20.
    It computes in float32 under every dtype policy: the sum of squares leaves float16's range at 65,504.
    """

    def __init__(self, scale: float, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.scale = scale

    def build(self, input_shape: Any) -> None:
        self.gamma = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.scale), name="gamma"
        )

    def call(self, inputs: Any) -> Any:
        square_norm = keras.ops.sum(keras.ops.square(inputs), axis=-1, keepdims=True)
        return inputs * keras.ops.rsqrt(square_norm + 1e-10) * self.gamma


def attach_block(net: Tensor, block: Block, scope: ArgScope) -> Tensor:
    """Applies the convolutions of an SSD block; its output is a prediction layer."""
    for index, conv in enumerate(block.convs, start=1):
        name, window = f"{block.name}_conv{index}", {"strides": conv.stride, "padding": conv.padding}
        if conv.separable:
            net = scope.depthwise_conv2d(net, conv.kernel, name=f"{name}_depthwise", **window)
            net = scope.conv2d(net, conv.filters, 1, name=name)
        else:
            net = scope.conv2d(net, conv.filters, conv.kernel, dilation=conv.dilation, name=name, **window)
    return net


def attach_head(features: Tensor, outputs: int, kind: str, scope: ArgScope, name: str) -> Tensor:
    """A linear convolution with biases that predicts `outputs` numbers per cell.

    Args:
        features: (B, H, W, C) feature map.
        kind: `conv3x3`, `conv1x1`, or `separable` (depthwise 3x3, then 1x1, as in SSDLite).
        scope: defaults of the SSD blocks; its norm and activation apply to the depthwise part only.
        name: of the predicting convolution.
    """
    if kind == "separable":
        features = scope.depthwise_conv2d(features, 3, name=f"{name}_depthwise")
    linear = scope.override(norm=None, activation=None)
    return linear.conv2d(features, outputs, 3 if kind == "conv3x3" else 1, name=name)


def join_predictions(maps: Sequence[Tensor], values_per_box: int, name: str) -> Tensor:
    """Head outputs (B, H, W, n * values) of all prediction layers as one float32 (B, A, values)."""
    flat = [keras.layers.Reshape((-1, values_per_box), name=f"{one.name}_flat")(one) for one in maps]
    joined = keras.layers.Concatenate(axis=1, name=f"{name}_joined")(flat) if len(flat) > 1 else flat[0]
    return keras.layers.Activation("linear", dtype="float32", name=name)(joined)
