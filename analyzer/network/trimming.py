"""Pieces of a network, made by changing a few bytes of its flatbuffer.

Writing a flatbuffer anew takes 10 to 20 ms for a hundred ops, and a sweep needs hundreds of pieces. Which ops there
are, what goes in and what comes out stands in three small vectors, so a piece is a copy of the whole file with those
changed. What a piece does not use stays in the file; the interpreter gives it no memory.
"""

from __future__ import annotations

import copy
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import flatbuffer as fb

# Places of the fields in their tables' vtables; they are part of the format and can never change.
_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS, _SUBGRAPH_OPERATORS = 6, 8, 10
_OPERATOR_INPUTS, _BUFFER_DATA = 6, 4


class Trimmer:
    """Makes pieces of one network.

    Args:
      model: The parsed network (a `ModelT`); its first subgraph is the one that is cut. It is not changed.
      plain: Whether the pieces' ops have no fused activation functions.
    """

    def __init__(self, model: Any, *, plain: bool = False) -> None:
        schema = fb.schema()
        bare, graph = schema.ModelT(), copy.copy(model.subgraphs[0])
        bare.version, bare.operatorCodes, bare.description = 3, model.operatorCodes, b""
        bare.buffers = list(model.buffers)
        graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
        for tensor in graph.tensors:
            tensor.shapeSignature = None
        _part_buffers(bare, graph)
        self._doubles = _add_doubles(graph)
        if plain:
            graph.operators = [_without_activation(op) for op in graph.operators]
        bare.subgraphs = [graph]
        self._data = fb.write(bare)
        self._root = schema.Model.GetRootAs(self._data, 0)
        self._graph = self._root.Subgraphs(0)

    def trim(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        ops: Sequence[int],
        constants: Mapping[int, np.ndarray] | None = None,
        *,
        only_reader: int | None = None,
    ) -> bytes:
        """The flatbuffer of a piece.

        Args:
          inputs, outputs: Tensor indices.
          ops: Op indices in the order in which they run.
          constants: New values by tensor index, of the old shapes and dtypes.
          only_reader: The only op that reads the first input; the others read the tensor itself, which may be an input
            too.
        """
        data = bytearray(self._data)
        self._keep_ops(data, ops)
        if only_reader is not None:
            double = self._doubles[inputs[0]]
            self._reread(data, only_reader, inputs[0], double)
            inputs = [double, *inputs[1:]]
        self._point_at(data, _SUBGRAPH_INPUTS, inputs)
        self._point_at(data, _SUBGRAPH_OUTPUTS, outputs)
        for tensor, values in (constants or {}).items():
            buffer = self._root.Buffers(self._graph.Tensors(tensor).Buffer())
            start, size = _vector(buffer, _BUFFER_DATA)
            raw = np.ascontiguousarray(values).tobytes()
            assert len(raw) == size, "a constant keeps its size"
            data[start : start + size] = raw
        return bytes(data)

    def _keep_ops(self, data: bytearray, ops: Sequence[int]) -> None:
        """Shortens the vector of operators, whose entries say how far behind themselves their tables lie."""
        start, _ = _vector(self._graph, _SUBGRAPH_OPERATORS)
        _put(data, start - 4, len(ops))
        for entry, op in zip(range(start, start + 4 * len(ops), 4), ops, strict=True):
            _put(data, entry, self._graph.Operators(op)._tab.Pos - entry)

    def _reread(self, data: bytearray, op: int, tensor: int, other: int) -> None:
        """Lets an op read another tensor."""
        operator = self._graph.Operators(op)
        start, _ = _vector(operator, _OPERATOR_INPUTS)
        for place in range(operator.InputsLength()):
            if operator.Inputs(place) == tensor:
                _put(data, start + 4 * place, other)

    def _point_at(self, data: bytearray, field: int, tensors: Sequence[int]) -> None:
        """Lets a field of the subgraph point at a new vector at the end: it may be longer than the old one."""
        slot = self._graph._tab.Pos + self._graph._tab.Offset(field)
        data += bytes(-len(data) % 4)
        _put(data, slot, len(data) - slot)
        data += struct.pack(f"<I{len(tensors)}i", len(tensors), *tensors)


def _part_buffers(model: Any, graph: Any) -> None:
    """Gives constants of one op that share a buffer one each, so that they can be changed apart."""
    for op in graph.operators:
        seen: set[int] = set()
        for tensor in (graph.tensors[t] for t in dict.fromkeys(op.inputs) if t >= 0):
            if tensor.buffer in seen and model.buffers[tensor.buffer].data is not None:
                model.buffers.append(model.buffers[tensor.buffer])
                tensor.buffer = len(model.buffers) - 1
            seen.add(tensor.buffer)


def _add_doubles(graph: Any) -> dict[int, int]:
    """Adds a twin of every tensor that several ops read, for pieces in which one of them reads other values."""
    readers = Counter(int(t) for op in graph.operators for t in {*op.inputs} if t >= 0)
    doubles: dict[int, int] = {}
    for tensor in sorted(t for t, count in readers.items() if count > 1):
        doubles[tensor] = len(graph.tensors)
        graph.tensors.append(copy.copy(graph.tensors[tensor]))
    return doubles


def _without_activation(op: Any) -> Any:
    if not hasattr(op.builtinOptions, "fusedActivationFunction"):
        return op
    op = copy.copy(op)
    op.builtinOptions = copy.copy(op.builtinOptions)
    op.builtinOptions.fusedActivationFunction = fb.schema().ActivationFunctionType.NONE
    return op


def _vector(table: Any, field: int) -> tuple[int, int]:
    """Position of a vector's first element, and its length."""
    offset = table._tab.Offset(field)
    return table._tab.Vector(offset), table._tab.VectorLen(offset)


def _put(data: bytearray, position: int, value: int) -> None:
    struct.pack_into("<I", data, position, value)
