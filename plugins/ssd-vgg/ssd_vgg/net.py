"""The convolutions of VGG-16 as SSD uses them."""

from typing import Any

from ssdcore import ArgScope

# (convolutions, filters) of each block.
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def vgg_arg_scope(*, weight_decay: float = 5e-4, data_format: str = "channels_last") -> ArgScope:
    """Xavier weights, biases, ReLU, no normalisation."""
    return ArgScope(weight_decay, data_format, kernel_initializer="glorot_uniform", activation="relu")


def vgg_16(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    """conv1_1 to pool5 of VGG-16 (arXiv:1409.1556, column D).

    pool5 is 3x3 with stride 1, so that the map keeps its size for the atrous convolution that
    takes the place of fc6 (SSD paper, section 3).
    """
    net, end_points = inputs, {}
    for block, (convs, filters) in enumerate(BLOCKS, start=1):
        for conv in range(1, convs + 1):
            name = f"conv{block}_{conv}"
            net = end_points[name] = scope.conv2d(net, filters, 3, name=name)
        last = block == len(BLOCKS)
        net = scope.max_pool2d(net, 3 if last else 2, strides=1 if last else 2, name=f"pool{block}")
        end_points[f"pool{block}"] = net
    return net, end_points
