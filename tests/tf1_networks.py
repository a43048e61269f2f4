"""What the networks of `tf1_files` compute, in plain `tf.nn` operations; independent of `ssdcore`, as that file is."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tf1_files import BLOCKS, MOBILENET_STRIDES, VGG_CONVS, Activations, Block, SsdLayout, Variables

EPSILON = 1e-3
L2_EPSILON = 1e-12

Activation = Callable[[tf.Tensor], tf.Tensor]
Tensors = dict[str, tf.Tensor]


def vgg_16_forward(variables: Variables, images: np.ndarray) -> Activations:
    """conv1_1 .. pool5 of the trunk as SSD uses it, from images less their mean."""
    return _arrays(_vgg(variables, "vgg_16", tf.constant(images)))


def mobilenet_v1_forward(variables: Variables, images: np.ndarray, first_stride: int = 2) -> Activations:
    """Conv2d_0 .. Conv2d_13_pointwise from scaled images, any depth multiplier."""
    return _arrays(_mobilenet(variables, tf.constant(images), first_stride))


def ssd_forward(layout: SsdLayout, variables: Variables, images: np.ndarray) -> Activations:
    """All layers, `norm` (of source 0), `head<i>/{loc,cls}` of every source, and `loc` and `cls` of all boxes."""
    tensors = _trunk(layout, variables, tf.constant(images))
    first, last = ("Conv2d_11_pointwise", "Conv2d_13_pointwise") if layout.mobilenet else ("conv4_3", "pool5")
    tensors |= _extra(layout, variables, tensors[last])
    tensors["norm"] = _l2_norm(tensors[first], variables[f"{layout.heads[0]}/L2Normalization/gamma"])
    blocks = [f"block{block.number}/{block.large}" for block in BLOCKS[layout.size]]
    tensors |= _heads(layout, variables, [tensors[name] for name in ("norm", "conv7", *blocks)])
    return _arrays(tensors)


def _arrays(tensors: Tensors) -> Activations:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _trunk(layout: SsdLayout, variables: Variables, x: tf.Tensor) -> Tensors:
    if layout.mobilenet:
        return _mobilenet(variables, x, first_stride=1)
    return _vgg(variables, layout.trunk, x)


def _vgg(variables: Variables, scope: str, x: tf.Tensor) -> Tensors:
    tensors = {}
    for block, (_, count) in enumerate(VGG_CONVS, start=1):
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            x = tensors[name] = tf.nn.relu(_conv(variables, f"{scope}/conv{block}/{name}", x))
        size, stride = (3, 1) if block == 5 else (2, 2)
        x = tensors[f"pool{block}"] = tf.nn.max_pool2d(x, size, stride, "SAME")
    return tensors


def _mobilenet(variables: Variables, x: tf.Tensor, first_stride: int) -> Tensors:
    x = tf.nn.conv2d(x, variables["MobilenetV1/Conv2d_0/weights"], first_stride, "SAME")
    x = _norm(variables, "MobilenetV1/Conv2d_0/BatchNorm", x, tf.nn.relu6)
    tensors = {"Conv2d_0": x}
    for index, stride in enumerate(MOBILENET_STRIDES, start=1):
        name = f"Conv2d_{index}_depthwise"
        kernel = variables[f"MobilenetV1/{name}/depthwise_weights"]
        x = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME")
        x = tensors[name] = _norm(variables, f"MobilenetV1/{name}/BatchNorm", x, tf.nn.relu6)
        name = f"Conv2d_{index}_pointwise"
        x = tf.nn.conv2d(x, variables[f"MobilenetV1/{name}/weights"], 1, "SAME")
        x = tensors[name] = _norm(variables, f"MobilenetV1/{name}/BatchNorm", x, tf.nn.relu6)
    return tensors


def _extra(layout: SsdLayout, variables: Variables, x: tf.Tensor) -> Tensors:
    """conv6, conv7 and the extra blocks."""
    tensors = {}
    x = _conv(variables, f"{layout.extra}/conv6", x, rate=6)
    x = tensors["conv6"] = _activate(layout, variables, f"{layout.extra}/BatchNorm", x)
    x = _conv(variables, f"{layout.extra}/conv7", x)
    x = tensors["conv7"] = _activate(layout, variables, f"{layout.extra}/BatchNorm_1", x)
    for block in BLOCKS[layout.size]:
        tensors |= _block(layout, block, variables, x)
        x = tensors[f"block{block.number}/{block.large}"]
    return tensors


def _block(layout: SsdLayout, block: Block, variables: Variables, x: tf.Tensor) -> Tensors:
    scope, name = layout.block_scope(block), f"block{block.number}"
    small = _conv(variables, f"{scope}/conv1x1", x)
    small = _activate(layout, variables, f"{scope}/BatchNorm", small)
    padded = tf.pad(small, [[0, 0], [block.pad, block.pad], [block.pad, block.pad], [0, 0]])
    large = _conv(variables, f"{scope}/{block.large}", padded, stride=block.stride, padding="VALID")
    large = _activate(layout, variables, f"{scope}/BatchNorm_1", large)
    return {f"{name}/conv1x1": small, f"{name}/{block.large}": large}


def _heads(layout: SsdLayout, variables: Variables, sources: list[tf.Tensor]) -> Tensors:
    tensors = {}
    for index, (scope, source) in enumerate(zip(layout.heads, sources, strict=True)):
        cells = source.shape[1] * source.shape[2]
        boxes = variables[f"{scope}/conv_loc/biases"].size // 4
        for kind in ("loc", "cls"):
            x = _conv(variables, f"{scope}/conv_{kind}", source)
            tensors[f"head{index}/{kind}"] = tf.reshape(x, (x.shape[0], cells * boxes, x.shape[3] // boxes))
    for kind in ("loc", "cls"):
        tensors[kind] = tf.concat([tensors[f"head{index}/{kind}"] for index in range(len(sources))], axis=1)
    return tensors


def _conv(
    variables: Variables, scope: str, x: tf.Tensor, stride: int = 1, rate: int = 1, padding: str = "SAME"
) -> tf.Tensor:
    """A convolution with biases, without activation."""
    x = tf.nn.conv2d(x, variables[f"{scope}/weights"], stride, padding, dilations=rate)
    return tf.nn.bias_add(x, variables[f"{scope}/biases"])


def _activate(layout: SsdLayout, variables: Variables, scope: str, x: tf.Tensor) -> tf.Tensor:
    """ReLU, after the normalisation of `scope` where the program has any."""
    return _norm(variables, scope, x, tf.nn.relu) if layout.batch_norm else tf.nn.relu(x)


def _norm(variables: Variables, scope: str, x: tf.Tensor, activation: Activation) -> tf.Tensor:
    mean, variance = variables[f"{scope}/moving_mean"], variables[f"{scope}/moving_variance"]
    beta, gamma = variables[f"{scope}/beta"], variables.get(f"{scope}/gamma")
    return activation(tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON))


def _l2_norm(x: tf.Tensor, gamma: np.ndarray) -> tf.Tensor:
    """Every position's channels divided by their Euclidean length, times gamma."""
    squares = tf.reduce_sum(tf.square(x), axis=-1, keepdims=True)
    return x * tf.math.rsqrt(tf.maximum(squares, L2_EPSILON)) * gamma
