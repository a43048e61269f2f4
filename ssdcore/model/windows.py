"""Which cells of its input a layer that changes the size of a map, or mixes neighbours, reads for each cell."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from ssdcore.model.layer_calls import Call, operation_name


class Window(NamedTuple):
    """What the cells of a map read along one side, in cells of the input; those beyond its edge are padding.

    Attributes:
        first, last: (n,) int64, of each cell.
        step: cells of the input from cell to cell.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    step: Fraction


def windows(call: Call) -> tuple[Window, Window] | None:
    """What the cells that a call gives read of its input, along rows and columns; None for other kinds of layers."""
    kind = operation_name(call) or next((kind for kind in _LAYERS if isinstance(call.operation, kind)), None)
    shapes = [one.shape for one in (*call.input_tensors, *call.outputs)]
    if kind not in _KINDS or len(shapes) != 2 or any(len(shape) != 4 or None in shape[1:3] for shape in shapes):
        return None
    if getattr(call.operation, "data_format", None) == "channels_first":
        return None
    cells, wanted = (shape[1:3] for shape in shapes)
    rows, columns = (_KINDS[kind](call, axis, cells[axis], np.arange(wanted[axis])) for axis in (0, 1))
    return (rows, columns) if rows and columns else None


def _convolution(call: Call, axis: int, cells: int, at: NDArray[np.int64]) -> Window:
    layer = call.operation
    kernel = 1 + (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis]
    return _slide(kernel, layer.strides[axis], layer.padding, cells, at)


def _pool(call: Call, axis: int, cells: int, at: NDArray[np.int64]) -> Window:
    kernel = _of(call.operation.pool_size, axis)
    step = kernel if call.operation.strides is None else _of(call.operation.strides, axis)
    return _slide(kernel, step, call.operation.padding, cells, at)


def _slide(kernel: int, step: int, padding: str, cells: int, at: NDArray[np.int64]) -> Window:
    before = _beyond(kernel, step, cells, len(at)) // 2 if padding == "same" else 0
    return Window(at * step - before, at * step - before + kernel - 1, Fraction(step))


def _transposed(call: Call, axis: int, cells: int, at: NDArray[np.int64]) -> Window:
    """A cell of the input is spread over as many as the kernel has, of which what is too many is cut off."""
    layer = call.operation
    kernel = 1 + (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis]
    step = layer.strides[axis]
    at = at + _beyond(kernel, step, len(at), cells) // 2
    return Window(-((kernel - 1 - at) // step), at // step, Fraction(1, step))


def _beyond(kernel: int, step: int, cells: int, windows: int) -> int:
    """How many cells so many windows need more than there are: TensorFlow's SAME padding, half of it before."""
    return max((windows - 1) * step + kernel - cells, 0)


def _resize(call: Call, axis: int, cells: int, at: NDArray[np.int64]) -> Window | None:
    layer = call.operation
    cuts = [getattr(layer, one, False) for one in ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio")]
    if layer.interpolation not in ("nearest", "bilinear") or any(cuts):
        return None
    numerator, wanted = (2 * at + 1) * cells, 2 * len(at)  # of the middle of a cell, in cells of the input
    if layer.interpolation == "nearest":
        first = last = numerator // wanted
    else:
        first, last = (numerator - len(at)) // wanted, -((len(at) - numerator) // wanted)
    whole = len(at) % cells == 0 or cells % len(at) == 0
    return Window(first, last, Fraction(cells, len(at)) if whole else step_between(cells, len(at)))


def _padded(call: Call, axis: int, cells: int, at: NDArray[np.int64]) -> Window:
    return _shift(at - call.operation.padding[axis][0])


def _cropped(call: Call, axis: int, cells: int, at: NDArray[np.int64]) -> Window:
    return _shift(at + call.operation.cropping[axis][0])


def _pad(call: Call, axis: int, cells: int, at: NDArray[np.int64]) -> Window | None:
    widths = call.operation.pad_width
    return _shift(at - widths[axis + 1][0]) if len(widths) == 4 and call.operation.mode == "constant" else None


def _shift(at: NDArray[np.int64]) -> Window:
    return Window(at, at, Fraction(1))


def _slice(call: Call, axis: int, cells: int, at: NDArray[np.int64]) -> Window | None:
    key = call.arguments.args[1] if len(call.arguments.args) > 1 else call.arguments.kwargs["key"]
    parts = list(key) if isinstance(key, list | tuple) else [key]
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        parts[place : place + 1] = [slice(None)] * (5 - len(parts))
    parts += [slice(None)] * (4 - len(parts))
    if not all(isinstance(one, slice) for one in parts) or (parts[axis + 1].step or 1) < 0:
        return None
    read = np.arange(cells)[parts[axis + 1]]
    return Window(read, read, Fraction(parts[axis + 1].step or 1))


def _of(value: Any, axis: int) -> int:
    return value if isinstance(value, int) else value[axis]


def step_between(cells: int, wanted: int) -> Fraction:
    """The step, in cells of the input, of a map of another size: the whole number, or its inverse, that fits best.

    Sizes are rounded up at odd ones, so that many steps may fit; of these a power of two is likely.
    """
    if wanted > cells:
        return 1 / step_between(wanted, cells)
    fitting = [step for step in range(1, cells + 1) if -(-cells // step) == wanted]
    powers = [step for step in fitting if step & (step - 1) == 0]
    return Fraction((powers or fitting or [round(cells / wanted)])[0])


Read = Callable[[Call, int, int, NDArray[np.int64]], Window | None]
_KINDS: dict[Any, Read] = {
    keras.layers.Conv2D: _convolution,
    keras.layers.DepthwiseConv2D: _convolution,
    keras.layers.SeparableConv2D: _convolution,
    keras.layers.Conv2DTranspose: _transposed,
    keras.layers.MaxPooling2D: _pool,
    keras.layers.AveragePooling2D: _pool,
    keras.layers.UpSampling2D: _resize,
    keras.layers.ZeroPadding2D: _padded,
    keras.layers.Cropping2D: _cropped,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "Resize": _resize,
    "Pad": _pad,
    "GetItem": _slice,
}
_LAYERS = [kind for kind in _KINDS if not isinstance(kind, str)]
