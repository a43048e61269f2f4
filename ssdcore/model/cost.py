"""What a network costs: multiplications and parameters, counted in its TensorFlow graph."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

Operation = Any
Shape = Any

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_MAY_MULTIPLY = ("Conv", "MatMul", "While", "If", "Case", "PyFunc", "Xla")
"""Parts of the names of operations whose multiplications are unknown unless counted below."""


class NetworkGraph:
    """The TensorFlow operations of a network in inference, for one image.

    Attributes:
        outputs: the operations of its outputs.
    """

    def __init__(self, network: keras.Model) -> None:
        image = tf.TensorSpec((1, *network.input_shape[1:]), tf.float32)
        concrete = tf.function(lambda images: network(images, training=False)).get_concrete_function(image)
        sizes = {id(weight.value.handle): math.prod(weight.shape) for weight in network.weights}
        captures = zip(concrete.inputs[1:], concrete.captured_inputs, strict=True)
        self._parameters = {inside.op: sizes.get(id(outside), 0) for inside, outside in captures}
        functions = concrete.graph.as_graph_def(add_shapes=True).library.function
        self._functions = {one.signature.name: one for one in functions}
        self.outputs: list[Operation] = [one.op for one in tf.nest.flatten(concrete.structured_outputs)]

    def parameters(self, operations: Iterable[Operation]) -> int:
        """Parameters of these operations, with moving statistics."""
        return sum(self._parameters.get(one, 0) for one in operations)

    def macs(self, operations: Iterable[Operation]) -> int | None:
        """Multiplications of convolutions, matrix products and Einstein sums; None if unknown."""
        found = [self._macs(one) for one in operations]
        return None if None in found else sum(filter(None, found))

    def _macs(self, operation: Operation) -> int | None:
        kind, shapes = operation.type, [one.shape for one in operation.inputs]
        if kind in _CALLS:
            function = self._functions[operation.get_attr("f").name]
            return self.macs(function_def_to_graph(function, shapes).get_operations())
        match kind:
            case "Conv2D" | "Conv3D" | "DepthwiseConv2dNative":
                sizes = [*_convolved(operation)[:-1], *shapes[1]]
            case "Conv2DBackpropInput" | "Conv3DBackpropInputV2":  # transposed
                sizes = [*shapes[2][:-1], *shapes[1]]
            case "MatMul" | "BatchMatMulV2":
                transposed = operation.get_attr("transpose_a" if kind == "MatMul" else "adj_x")
                sizes = [*operation.outputs[0].shape, shapes[0][-2 if transposed else -1]]
            case "Einsum":
                sizes = _labelled_sizes(operation.get_attr("equation").decode(), shapes)
            case _:
                return None if any(part in kind for part in _MAY_MULTIPLY) else 0
        return None if None in sizes else math.prod(sizes)


def _labelled_sizes(equation: str, shapes: Iterable[Shape]) -> list[int | None]:
    """The sizes of all labels of an Einstein sum."""
    labels = equation.partition("->")[0].replace(",", "")
    if "." in labels:  # an ellipsis
        return [None]
    return list(dict(zip(labels, (size for shape in shapes for size in shape), strict=True)).values())


def _convolved(operation: Operation) -> Shape:
    """The shape of a convolution's output; TensorFlow computes atrous ones on padded parts of the map."""
    (output,) = operation.outputs
    joined = [one.outputs[0].shape for one in output.consumers() if one.type == "BatchToSpaceND"]
    return joined[0] if joined else output.shape


def operations_behind(output: Operation) -> set[Operation]:
    """An operation and all operations it is computed from."""
    found, waiting = {output}, [output]
    while waiting:
        before = {one.op for one in waiting.pop().inputs} - found
        found |= before
        waiting.extend(before)
    return found
