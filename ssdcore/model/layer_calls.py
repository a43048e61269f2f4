"""The calls of layers and operations that a Keras tensor is made by.

A layer that is used twice is called twice: what it costs and what is seen through it belong to the call. Keras' word
for a call is node (`keras.src.ops.node.Node`).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import keras

Tensor = Any
Call = Any


def calls_behind(tensors: Iterable[Tensor]) -> list[Call]:
    """The calls that tensors are made by, each once, behind those that it takes its inputs from."""
    found: dict[int, Call] = {}
    waiting = [(call, False) for call in _makers(tensors)]
    while waiting:  # no recursion: a network may be deeper than Python's stack
        call, inputs_found = waiting.pop()
        if id(call) in found:
            continue
        if inputs_found:
            found[id(call)] = call
        else:
            waiting.append((call, True))
            waiting.extend((one, False) for one in _makers(call.input_tensors))
    return list(found.values())


def innermost_calls(tensors: Iterable[Tensor]) -> Iterator[Call]:
    """The calls that tensors are made by, with those inside a model in place of the call of the model."""
    for call in calls_behind(tensors):
        model = called_model(call)
        if model is None:
            yield call
        else:
            yield from innermost_calls(model.outputs)


def called_model(call: Call) -> Any:
    """The model that is called, if its layers are known and were built for maps of these sizes; otherwise None."""
    model = call.operation
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        return None
    built_for = [tuple(one.shape[1:]) for one in model.inputs]
    return model if built_for == [tuple(one.shape[1:]) for one in call.input_tensors] else None


def operation_name(call: Call) -> str:
    """The name of the `keras.ops` operation that is called, whose classes are not public; "" for a layer."""
    operation = call.operation
    return "" if isinstance(operation, keras.layers.Layer) else type(operation).__name__


def _makers(tensors: Iterable[Tensor]) -> list[Call]:
    histories = [one._keras_history for one in tensors]
    return [
        one.operation._inbound_nodes[one.node_index]
        for one in histories
        if one.operation is not None and not isinstance(one.operation, keras.layers.InputLayer)
    ]
