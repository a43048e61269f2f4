"""Checkpoint maps: how a plugin names its variables in public checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CAFFE_EPSILON = 1e-5
"""Epsilon of Caffe's BatchNorm; the base net of a Caffe model must have the same."""


@dataclass(frozen=True)
class Source:
    """The arrays of a public checkpoint that hold a variable's values.

    Attributes:
        names: of the arrays, usually one. Caffe's layers are read as `layer/kernel` (height,
            width, in, out), `layer/bias`, `layer/gamma`, `layer/beta`, `layer/moving_mean` and
            `layer/moving_variance`; in other files arrays have their own names.
        convert: computes the values from these arrays, in order; None: the array unchanged.
    """

    names: tuple[str, ...]
    convert: Callable[..., Array] | None = None


NameMap = Callable[[str], Sequence[Source]]
"""Maps a variable such as `conv1_1/kernel` to its possible sources, of which the first that the file has is used.
Empty: such files do not hold it."""


def nowhere(name: str) -> Sequence[Source]:
    """The map for variables that a format does not hold."""
    return ()


@dataclass(frozen=True)
class CheckpointMap:
    """The names of a detector's variables in one format of public checkpoints.

    Attributes:
        base_net: maps variables of the base net.
        blocks: maps variables of SSD blocks that can start from further layers of the classifier, such as
            `block7_conv1/kernel` and `block7_conv2/kernel` from VGG's fc6 and fc7.
        others: array -> name of the only network that has it; a file with such an array is rejected, even if it
            has all variables of this one.
    """

    base_net: NameMap
    blocks: NameMap = nowhere
    others: Mapping[str, str] = field(default_factory=dict)


def flip_channels(kernel: Array) -> Array:
    """Converts a first kernel (height, width, in, out) from BGR to RGB or back."""
    return kernel[:, :, ::-1]


def caffe_batch_norm(layer: str, variable: str) -> Sequence[Source]:
    """Sources of the batch normalisation after a convolution in a Caffe model.

    Either the layers `layer/bn` and `layer/scale`, or merged into the convolution: then beta is its bias, and
    the other variables are those of an identity.

    Args:
        layer: Caffe's name of the convolution.
        variable: `gamma`, `beta`, `moving_mean` or `moving_variance`.
    """
    there = "scale" if variable in ("gamma", "beta") else "bn"
    return [Source((f"{layer}/{there}/{variable}",)), Source((f"{layer}/bias",), _MERGED[variable])]


_MERGED: dict[str, Callable[[Array], Array]] = {
    "gamma": np.ones_like,
    "beta": np.asarray,
    "moving_mean": np.zeros_like,
    "moving_variance": lambda bias: np.full_like(bias, 1 - CAFFE_EPSILON),
}
