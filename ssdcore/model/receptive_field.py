"""Receptive fields and strides of feature maps, measured by gradients.

A cell depends on the cells of an earlier map at which its gradient is not 0, whatever the layers between. Each map is
measured against the nearest earlier one that it is computed from alone: a window of k cells with a stride of j px adds
(k - 1) j px to the receptive field. A window wider than the map it reads is cut off and counts as all of it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ssdcore.types import Tensor

_CELLS = (-2, -1, 2)
"""Probed cells on the diagonal, from the middle one: in an enlarged map even and odd ones have different fields."""


class Side(NamedTuple):
    """The receptive field of cells in the middle of a map, along rows or columns.

    Attributes:
        size: px; 0 if no gradient arrives, None if it reaches from edge to edge.
        stride: px between cells.
    """

    size: int | None
    stride: float

    def then(self, following: "Side") -> "Side":
        """The side of a following map, measured in cells of this one."""
        stride = self.stride * following.stride
        if not (self.size and following.size):
            return Side(0 if 0 in (self.size, following.size) else None, stride)
        return Side(self.size + round((following.size - 1) * self.stride), stride)


def measure(inputs: Tensor, maps: Sequence[Tensor]) -> list[tuple[Side, Side]]:
    """Rows and columns of Keras tensors (B, H, W, C) that are computed from `inputs` (B, H, W, 3)."""
    sources, found = [inputs], [(Side(1, 1), Side(1, 1))]
    for one in maps:
        index, part = _nearest(sources, one)
        rows, columns = (side.then(following) for side, following in zip(found[index], _windows(part), strict=True))
        sources.append(one)
        found.append((rows, columns))
    return found[1:]


def _nearest(sources: Sequence[Tensor], output: Tensor) -> tuple[int, keras.Model]:
    """The last of the sources that the output is computed from alone, and the network between them."""
    for index in reversed(range(1, len(sources))):
        try:
            return index, keras.Model(sources[index], output)
        except ValueError:  # it is also computed from something earlier
            continue
    return 0, keras.Model(sources[0], output)


def _windows(network: keras.Model) -> list[Side]:
    """The receptive field of a network's output, in cells of its input."""
    shape, sides = network.input_shape[1:], network.output_shape[1:3]
    given = tf.constant(np.random.default_rng(0).standard_normal((1, *shape), np.float32))
    cells = np.stack([np.clip(side // 2 + np.array(_CELLS), 0, side - 1) for side in sides], axis=-1)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(given)
        output = network(given, training=False)
        probed = [output[0, row, column] for row, column in cells]
    gradients = [tape.gradient(one, given, unconnected_gradients="zero") for one in probed]
    touched = np.concatenate([tf.reduce_any(one != 0, axis=-1) for one in gradients])
    if not touched.any():
        return [Side(0, stride_of_sizes(*sizes)) for sizes in zip(shape, sides, strict=False)]
    return [_window(np.any(touched, axis=2 - axis), cells[:, axis], sides[axis]) for axis in (0, 1)]


def _window(touched: NDArray[np.bool_], cells: NDArray[np.int64], count: int) -> Side:
    """The window along one side of `count` cells, from the input cells that each probed cell depends on, (B, n)."""
    first, last = touched.argmax(axis=1), touched.shape[1] - 1 - touched[:, ::-1].argmax(axis=1)
    whole = (first > 0) & (last < touched.shape[1] - 1)
    size = int((last - first + 1)[whole].max()) if whole.any() else None
    if not (whole[0] and whole[-1] and cells[0] < cells[-1]):
        return Side(size, stride_of_sizes(touched.shape[1], count))
    middle = (first + last) / 2
    return Side(size, float((middle[-1] - middle[0]) / (cells[-1] - cells[0])))


def stride_of_sizes(before: int, after: int) -> float:
    """The stride that reduces `before` cells to `after`, rounded up: a power of two if one fits."""
    if after > before:
        return 1 / stride_of_sizes(after, before)
    fitting: list[float] = [step for step in range(1, before + 1) if -(-before // step) == after]
    powers = [step for step in fitting if math.log2(step).is_integer()]
    return (powers or fitting or [before / after])[0]


def randomize_vectors(network: keras.Model) -> None:
    """Randomizes biases, scales and statistics, because a scale of 0 would block gradients."""
    random = np.random.default_rng(0)
    for weight in network.weights:
        if len(weight.shape) < 2:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
