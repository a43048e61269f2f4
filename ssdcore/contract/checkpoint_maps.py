"""How a plugin says where public checkpoints keep its variables, and what such maps have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CAFFE_EPSILON = 1e-5
"""What Caffe's BatchNorm adds to the variance; the base net of a Caffe model must add the same."""


@dataclass(frozen=True)
class Source:
    """Where in a public checkpoint the values of a variable are.

    Attributes:
        names: of the file's arrays, usually one. Caffe's layers are read as `layer/kernel` (height,
            width, in, out), `layer/bias`, `layer/gamma`, `layer/beta`, `layer/moving_mean` and
            `layer/moving_variance`; all other files keep their own names.
        convert: makes the values from those arrays, in that order; None takes the one array as it is.
    """

    names: tuple[str, ...]
    convert: Callable[..., Array] | None = None


NameMap = Callable[[str], Sequence[Source]]
"""For a variable such as `conv1_1/kernel`, where its values may be: the first place that the file
has counts. No place at all: such files do not hold it."""


def nowhere(name: str) -> Sequence[Source]:
    """The map of variables that a format does not hold."""
    return ()


@dataclass(frozen=True)
class CheckpointMap:
    """How the variables of a detector are named in one format of public checkpoints.

    Attributes:
        base_net: of the base net's variables, by their own names.
        blocks: of SSD blocks that can start from the classifier's further layers, as VGG's fc6 and
            fc7 do for `block7_conv1/kernel` and `block7_conv2/kernel`.
        others: arrays that only another network has, with its name: a file that holds one is refused
            although everything that is looked for may be in it.
    """

    base_net: NameMap
    blocks: NameMap = nowhere
    others: Mapping[str, str] = field(default_factory=dict)


def flip_channels(kernel: Array) -> Array:
    """A first kernel (height, width, in, out) made for BGR, for RGB; or the other way round."""
    return kernel[:, :, ::-1]


def caffe_batch_norm(layer: str, variable: str) -> Sequence[Source]:
    """Where a Caffe model has the batch normalisation behind a convolution.

    Either in the layers `layer/bn` and `layer/scale`, or merged into the convolution: then its bias
    is what is left to add, and the other variables are those that change nothing.

    Args:
        layer: Caffe's name of the convolution.
        variable: `gamma`, `beta`, `moving_mean` or `moving_variance`.
    """
    there = "scale" if variable in ("gamma", "beta") else "bn"
    return [Source((f"{layer}/{there}/{variable}",)), Source((f"{layer}/bias",), _MERGED[variable])]


def _one_with_epsilon(bias: Array) -> Array:
    return np.full_like(bias, 1 - CAFFE_EPSILON)


_MERGED: dict[str, Callable[[Array], Array]] = {
    "gamma": np.ones_like,
    "beta": np.asarray,
    "moving_mean": np.zeros_like,
    "moving_variance": _one_with_epsilon,
}
