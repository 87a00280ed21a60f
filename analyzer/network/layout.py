"""A file whose inputs and outputs have their channels elsewhere than its parent's, made to take and give the same.

Converters turn NCHW networks into NHWC ones; some leave the TRANSPOSE in the file, others move it to the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import flatbuffer as fb

_TO_LAST = (0, 2, 3, 1)
_TO_FIRST = (0, 3, 1, 2)


def with_ports_of(data: bytes, inputs: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]) -> bytes:
    """The file with a TRANSPOSE at each input and output that differs from a parent's by where its channels are.

    Args:
      data: The file.
      inputs: Shapes of the parent's inputs, in the file's order.
      outputs: Shapes of the parent's outputs.

    Returns:
      `data` itself where there is nothing to do.
    """
    model = fb.read(data)
    graph = model.subgraphs[0]
    made = [_orders(graph, ports, shapes) for ports, shapes in ((graph.inputs, inputs), (graph.outputs, outputs))]
    if not any(any(orders) for orders in made):
        return data
    for place, order in enumerate(made[0]):
        if order is not None:
            _in_front(model, place, order, tuple(inputs[place]))
    for place, order in enumerate(made[1]):
        if order is not None:
            _behind(model, place, order, tuple(outputs[place]))
    model.signatureDefs = None  # it names ports that are not the network's any more
    return fb.write(model)


def _orders(graph: Any, ports: Sequence[int], shapes: Sequence[Sequence[int]]) -> list[tuple[int, ...] | None]:
    """For each port, the order of the parent's axes in the file; None where the file has the parent's own shape."""
    if len(ports) != len(shapes):
        return []
    return [_order(_shape(graph.tensors[port]), tuple(shape)) for port, shape in zip(ports, shapes, strict=True)]


def _order(own: tuple[int, ...], parent: tuple[int, ...]) -> tuple[int, ...] | None:
    if len(own) != 4 or len(parent) != 4 or own == parent:
        return None
    return next((order for order in (_TO_LAST, _TO_FIRST) if tuple(parent[axis] for axis in order) == own), None)


def _in_front(model: Any, place: int, order: tuple[int, ...], shape: tuple[int, ...]) -> None:
    graph = model.subgraphs[0]
    old = int(graph.inputs[place])
    new = _twin(graph, old, shape)
    graph.operators = [_transpose(model, new, old, order), *graph.operators]
    graph.inputs = [new if k == place else int(t) for k, t in enumerate(graph.inputs)]


def _behind(model: Any, place: int, order: tuple[int, ...], shape: tuple[int, ...]) -> None:
    graph = model.subgraphs[0]
    old = int(graph.outputs[place])
    new = _twin(graph, old, shape)
    back = tuple(int(axis) for axis in np.argsort(order))
    graph.operators = [*graph.operators, _transpose(model, old, new, back)]
    graph.outputs = [new if k == place else int(t) for k, t in enumerate(graph.outputs)]


def _twin(graph: Any, tensor: int, shape: tuple[int, ...]) -> int:
    """A tensor of the same type, scale and name (with something behind it), in another shape."""
    old = graph.tensors[tensor]
    new = fb.schema().TensorT()
    new.type, new.quantization, new.buffer = old.type, old.quantization, 0
    new.name, new.shape = f"{fb.text(old.name)}:as-parent".encode(), np.asarray(shape, np.int32)
    graph.tensors = [*graph.tensors, new]
    return len(graph.tensors) - 1


def _transpose(model: Any, source: int, target: int, order: tuple[int, ...]) -> Any:
    schema, graph = fb.schema(), model.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE
    code.version = 2
    model.operatorCodes.append(code)
    constant = schema.TensorT()
    constant.name, constant.type, constant.shape = b"axes", schema.TensorType.INT32, np.asarray([4], np.int32)
    fb.set_constant(model, constant, np.asarray(order, np.int32))
    graph.tensors = [*graph.tensors, constant]
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = len(model.operatorCodes) - 1, [source, len(graph.tensors) - 1], [target]
    return op


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
