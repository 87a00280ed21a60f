"""What one layer became in a file: an op with the bias, the activation function and the second half that go with it.

Converters fuse these or keep them apart. Two networks are compared unit by unit, so that either is the same thing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..schema import Graph, Op, Tensor
from . import kernels

BORDERS = frozenset({"QUANTIZE", "DEQUANTIZE"})
"""Ops between formats."""

LAYOUT = frozenset({"TRANSPOSE"})
"""Ops that one converter inserts and another leaves out, for the order of the axes."""

_ACTIVATIONS = frozenset({"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"})


@dataclass(frozen=True)
class Unit:
    """One layer.

    Attributes:
      core: Index of the op that computes it; of split weights the hi part.
      low: Index of the op with the lo weights, None where the weights are not split.
      ops: Indices of all its ops in execution order, border ops aside.
      product: Tensor that is written before a bias of its own op is added, None where there is none.
      sum: Tensor that is written before an activation function of its own op, None where there is none.
      end: What the unit writes.
      bias_op: Index of an ADD of a constant that is the layer's bias, or is added to it.
    """

    core: int
    low: int | None
    ops: tuple[int, ...]
    product: int | None
    sum: int | None
    end: tuple[int, ...]
    bias_op: int | None = None

    @property
    def last(self) -> int:
        """Index of the op that writes `end`."""
        return self.ops[-1]


class Wires:
    """Who writes and who reads each tensor of a network.

    Args:
      graph: The network.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.writers = {t: op.index for op in graph.ops for t in op.outputs}
        self.readers: dict[int, list[int]] = {}
        for op in graph.ops:
            for tensor in dict.fromkeys(t for t in op.inputs if t >= 0):
                self.readers.setdefault(tensor, []).append(op.index)

    def only_reader(self, tensor: int) -> Op | None:
        """The one op behind a tensor, border ops passed; None where there are several or the network returns it."""
        while True:
            readers = self.readers.get(tensor, [])
            if len(readers) != 1 or tensor in self._graph.outputs:
                return None
            reader = self._graph.ops[readers[0]]
            if reader.opcode not in BORDERS:
                return reader
            tensor = reader.outputs[0]

    def behind_borders(self, tensor: int, passed: frozenset[str] = BORDERS) -> tuple[int, tuple[int, ...]]:
        """What a tensor was before ops that compute nothing.

        Args:
          tensor: Where to start.
          passed: Names of the ops to pass.

        Returns:
          The tensor in front of them, and those on the way from there to the start, the start last.
        """
        way: list[int] = []
        while (writer := self.writers.get(tensor)) is not None and self._graph.ops[writer].opcode in passed:
            way.append(tensor)
            tensor = self._graph.ops[writer].inputs[0]
        return tensor, tuple(reversed(way))

    def constant(self, tensor: int) -> int | None:
        """The constant that a tensor is, or is the dequantized form of; None for an activation."""
        source, _ = self.behind_borders(tensor, frozenset({"DEQUANTIZE"}))
        return source if self._graph.tensors[source].is_constant else None

    def activations_in(self, op: Op) -> tuple[int, ...]:
        """The inputs of an op that are no constants, in order; integers are counted too."""
        return tuple(dict.fromkeys(t for t in op.inputs if t >= 0 and self.constant(t) is None))


def find_units(graph: Graph, wires: Wires) -> tuple[Unit, ...]:
    """The units of a network in execution order of their cores. Border ops, and what makes constants, are none."""
    splits = dict(_splits(graph, wires))
    taken = {part for high, (low, total) in splits.items() for part in (low, total)}
    found = []
    for op in graph.ops:
        if op.index in taken or op.opcode in BORDERS:
            continue
        low, total = splits.get(op.index, (None, None))
        unit = _unit(graph, wires, op, low, graph.ops[total] if total is not None else op)
        taken.update(unit.ops)
        found.append(unit)
    return tuple(found)


def weights_tensor(graph: Graph, wires: Wires, op: Op) -> Tensor | None:
    """The constant weights of an op, dequantized by an op of their own or not; None where it has none."""
    place = kernels.WEIGHTS_INPUT.get(op.opcode)
    if place is None or place >= len(op.inputs):
        return None
    constant = wires.constant(op.inputs[place])
    return None if constant is None else graph.tensors[constant]


def _unit(graph: Graph, wires: Wires, core: Op, low: int | None, writer: Op) -> Unit:
    ops = [core.index, *(() if low is None else (low, writer.index))]
    product = total = bias = None
    end = writer
    following = _following(wires, end)
    if following and core.opcode in kernels.WEIGHTED and _adds_bias(graph, wires, core, following):
        product, bias, end = end.outputs[0], following.index, following
        ops.append(following.index)
        following = _following(wires, end)
    if following and following.opcode in _ACTIVATIONS:
        total, end = end.outputs[0], following
        ops.append(following.index)
    return Unit(core.index, low, tuple(ops), product, total, end.outputs, bias)


def _following(wires: Wires, op: Op) -> Op | None:
    """The op that could be this one's tail: the only reader of its only output, which no activation has closed."""
    return wires.only_reader(op.outputs[0]) if len(op.outputs) == 1 and op.activation == "NONE" else None


def _adds_bias(graph: Graph, wires: Wires, core: Op, op: Op) -> bool:
    """Whether an op adds one constant for each channel. The core may have a bias as well."""
    if op.opcode != "ADD":
        return False
    constants = [found for t in op.inputs if (found := wires.constant(t)) is not None]
    channels = graph.tensors[core.outputs[0]].shape[-1]
    return len(constants) == 1 and graph.tensors[constants[0]].elements == channels


def _splits(graph: Graph, wires: Wires) -> Iterator[tuple[int, tuple[int, int]]]:
    """Layers kept as hi + lo: the first op; the second one, and the ADD of the two."""
    for op in graph.ops:
        if op.opcode != "ADD" or len(set(op.inputs)) != 2:
            continue
        writers = [wires.writers.get(wires.behind_borders(t)[0]) for t in op.inputs]
        if None in writers:
            continue
        high, low = (graph.ops[k] for k in sorted(k for k in writers if k is not None))
        if high.index != low.index and _are_halves(graph, wires, high, low):
            yield high.index, (low.index, op.index)


def _are_halves(graph: Graph, wires: Wires, high: Op, low: Op) -> bool:
    if high.opcode != low.opcode or high.opcode not in kernels.SPLIT:
        return False
    first, second = (weights_tensor(graph, wires, op) for op in (high, low))
    if first is None or second is None or first.shape != second.shape:
        return False
    if (first.dtype, second.dtype) != ("int8", "int8") or high.activation != "NONE" or low.activation != "NONE":
        return False
    sources = [wires.behind_borders(op.inputs[kernels.DATA_INPUT.get(op.opcode, 0)])[0] for op in (high, low)]
    return sources[0] == sources[1] and math.prod(first.shape) > 0
