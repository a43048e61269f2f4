"""What the cells of a map see of the image, followed through the layers that make it.

The pixels that each row and each column of cells depends on are carried from call to call (after Araujo et al. 2019,
"Computing Receptive Fields of Convolutional Neural Networks"), so that branches of other alignment, oblong kernels
and enlarged maps come out as they are.
"""

from collections.abc import Iterable
from enum import IntEnum
from fractions import Fraction
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ssdcore.model.layer_calls import Call, Tensor, called_model, calls_behind, operation_name
from ssdcore.model.windows import Window, step_between, windows


class Sees(IntEnum):
    """How much of the image is seen; of several things the greatest holds."""

    WINDOW = 0
    UNKNOWN = 1  # through a layer of unknown kind
    EVERYTHING = 2


# Neighbours in an enlarged map differ, and repeat after so many cells: multiples of the usual factors.
_PERIODS = (12, 8, 6, 4, 3, 2, 1)


class Side(NamedTuple):
    """Rows or columns of a map.

    Attributes:
        step: px from cell to cell.
        first, last: (n,) int64, the pixels that each cell sees; may lie beyond the edge of the image. They mean
            nothing where the sight is not a window.
    """

    step: Fraction
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @property
    def cells(self) -> int:
        """How many there are."""
        return len(self.first)

    @property
    def field(self) -> int:
        """The most pixels that a cell sees."""
        return int((self.last - self.first).max()) + 1

    def through(self, window: Window) -> "Side":
        """The side of a map whose cells read this one's."""
        first, last = self._pixel(self.first, window.first), self._pixel(self.last, window.last)
        return Side(self.step * window.step, first, last)

    def _pixel(self, pixels: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pixels of some cells; cells beyond the edge are as if the map went on as it is."""
        period = next(one for one in _PERIODS if one <= self.cells)
        inside = np.clip(at, at % period, at % period + (self.cells - 1 - at % period) // period * period)
        return pixels[inside] + (at - inside) * self.step.numerator // self.step.denominator

    def resized(self, cells: int) -> "Side":
        """A side of so many cells, made in an unknown way."""
        at = np.arange(cells) * self.cells // cells
        return self.through(Window(at, at, step_between(self.cells, cells)))


class Sight(NamedTuple):
    """What a map sees: how much, and its rows and columns. What is no map has those of the map that it comes from."""

    sees: Sees
    sides: tuple[Side, Side]


_WHOLE_MAP = (
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Flatten,
    keras.layers.GroupNormalization,
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
)
_REDUCTIONS = {"Mean", "Sum", "Max", "Min", "Amax", "Amin", "Prod", "Std", "Var", "Logsumexp"}
# Others are tried; these are most of the layers of a network, and known.
_CELL_BY_CELL = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.Dropout,
    keras.layers.Dense,
    keras.layers.Add,
    keras.layers.Multiply,
    keras.layers.Rescaling,
)
_CELL_BY_CELL_OPERATIONS = {"Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Relu", "Relu6", "Sigmoid", "Silu"}
_ALONG_AN_AXIS = (keras.layers.BatchNormalization, keras.layers.LayerNormalization, keras.layers.Concatenate)


def sights(inputs: Tensor, outputs: Iterable[Tensor]) -> list[Sight]:
    """What each of some tensors sees of a Keras input (B, H, W, C) that they are all made from.

    Raises:
        KeyError: one is made from another input.
    """
    whole = [Side(Fraction(1), np.arange(cells), np.arange(cells)) for cells in inputs.shape[1:3]]
    return _follow({id(inputs): Sight(Sees.WINDOW, (whole[0], whole[1]))}, list(outputs))


def _follow(known: dict[int, Sight], outputs: list[Tensor]) -> list[Sight]:
    known = dict(known)
    for call in calls_behind(outputs):
        model = called_model(call)
        before = [known[id(one)] for one in call.input_tensors]
        if model is None:
            found = [_behind(call, before, one.shape) for one in call.outputs]
        else:
            found = _follow({id(one): sight for one, sight in zip(model.inputs, before, strict=True)}, model.outputs)
        known |= {id(one): sight for one, sight in zip(call.outputs, found, strict=True)}
    return [known[id(one)] for one in outputs]


def _behind(call: Call, inputs: list[Sight], shape: tuple[int | None, ...]) -> Sight:
    """What an output of a call, of this shape, sees."""
    largest = max(inputs, key=lambda one: one.sides[0].cells)
    sees = max(one.sees for one in inputs)
    read = windows(call)
    if read:
        return Sight(sees, (largest.sides[0].through(read[0]), largest.sides[1].through(read[1])))
    size = _size(shape) or (largest.sides[0].cells, largest.sides[1].cells)
    same = all((one.sides[0].cells, one.sides[1].cells) == size for one in inputs)
    if _sees_whole_map(call):
        sees = Sees.EVERYTHING
    elif sees is Sees.WINDOW and not (same and _size(shape) and _is_cell_by_cell(call)):
        sees = Sees.UNKNOWN
    if same and sees is Sees.WINDOW:
        return Sight(sees, (_union([one.sides[0] for one in inputs]), _union([one.sides[1] for one in inputs])))
    return Sight(sees, (largest.sides[0].resized(size[0]), largest.sides[1].resized(size[1])))


def _size(shape: tuple[int | None, ...]) -> tuple[int, int] | None:
    """Rows and columns of a map (B, H, W, ...); None for what is no map."""
    if len(shape) < 4 or shape[1] is None or shape[2] is None:
        return None
    return shape[1], shape[2]


def _union(sides: list[Side]) -> Side:
    first, last = np.min([one.first for one in sides], axis=0), np.max([one.last for one in sides], axis=0)
    return Side(max(one.step for one in sides), first, last)


def _sees_whole_map(call: Call) -> bool:
    if operation_name(call) not in _REDUCTIONS:
        return isinstance(call.operation, _WHOLE_MAP)
    rank = len(call.input_tensors[0].shape)
    axes = call.operation.axis
    axes = range(rank) if axes is None else [axes] if isinstance(axes, int) else axes
    return any(one % rank in (1, 2) for one in axes)


def _is_cell_by_cell(call: Call) -> bool:
    """Whether each cell is made from the same cell of the inputs alone."""
    operation = call.operation
    if isinstance(operation, _ALONG_AN_AXIS) and operation.axis in (-1, len(call.outputs[0].shape) - 1):
        return True
    known = isinstance(operation, _CELL_BY_CELL) or operation_name(call) in _CELL_BY_CELL_OPERATIONS
    return known or _tried_cell_by_cell(call)


def _tried_cell_by_cell(call: Call) -> bool:
    """Asks for the gradient of half the cells, chosen by chance: it must reach these, and no others."""
    random = np.random.default_rng(0)
    size = _size(call.outputs[0].shape)
    if size is None or any(_size(one.shape) != size for one in (*call.input_tensors, *call.outputs)):
        return False
    cells = random.permutation(size[0] * size[1]).reshape(1, *size) < (size[0] * size[1] + 1) // 2
    values = {id(one): _random(random, one) for one in call.input_tensors}
    with tf.GradientTape() as tape:
        tape.watch(list(values.values()))
        arguments, options = call.arguments.fill_in(values)
        given = keras.tree.flatten(call.operation(*arguments, **options))
        total = sum(tf.reduce_sum(tf.cast(_cut(_random(random, one), cells) * one, tf.float32)) for one in given)
    return all(_reaches(one, cells) for one in tape.gradient(total, list(values.values())))


def _random(random: np.random.Generator, like: Any) -> Any:
    """Positive numbers, at which what is cut off at 0 has a gradient and roots exist: (1, H, W, ...)."""
    return tf.cast(random.uniform(0.25, 1.0, (1, *like.shape[1:])), like.dtype)


def _cut(values: Any, cells: NDArray[np.bool_]) -> Any:
    return values * tf.cast(cells.reshape(*cells.shape, *[1] * (len(values.shape) - 3)), values.dtype)


def _reaches(gradient: Any, cells: NDArray[np.bool_]) -> bool:
    if gradient is None:
        return False
    values = np.asarray(tf.convert_to_tensor(gradient)).reshape(*cells.shape, -1)
    moved = np.any(values != 0, axis=-1)
    return bool(np.any(moved) and not np.any(moved & ~cells))
