"""Who writes and who reads each float activation: the edges on which formats meet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..schema import Graph
from . import kernels

INPUT = -1
"""Stands for the model's inputs where the index of a writing op is expected."""

OUTPUT = -2
"""Stands for the model's outputs where the index of a reading op is expected."""


@dataclass(frozen=True)
class Wiring:
    """The float activations of a graph with their ends.

    Attributes:
      writer: By tensor index: the op that writes it, or `INPUT`. Only float activations that somebody reads or writes.
      readers: By tensor index: the ops that read it, in execution order, `OUTPUT` last where the model returns it.
      reads, writes: By op index: tensor indices, each once, in order.
      source: By op index of a movement op: the tensor whose values it moves.
    """

    writer: Mapping[int, int]
    readers: Mapping[int, tuple[int, ...]]
    reads: tuple[tuple[int, ...], ...]
    writes: tuple[tuple[int, ...], ...]
    source: Mapping[int, int]


def wire(graph: Graph) -> Wiring:
    """Collects the edges of a graph in one pass.

    Tensors that are not float32, and constants, have no format to choose and are left out.
    """
    writer = {t: INPUT for t in graph.inputs if graph.tensors[t].dtype == "float32"}
    readers: dict[int, list[int]] = {t: [] for t in writer}
    reads, writes, source = [], [], {}
    for op in graph.ops:
        read = tuple(t for t in graph.activations_in(op) if t in writer)
        written = graph.activations_out(op)
        for t in read:
            readers[t].append(op.index)
        for t in written:
            writer[t] = op.index
            readers.setdefault(t, [])
        if read and op.opcode in kernels.MOVEMENT:
            source[op.index] = read[0]
        reads.append(read)
        writes.append(written)
    for t in dict.fromkeys(graph.outputs):
        if t in writer:
            readers[t].append(OUTPUT)
    return Wiring(writer, {t: tuple(ops) for t, ops in readers.items()}, tuple(reads), tuple(writes), source)


def scaled_as(graph: Graph, tensor: int, integer: Collection[int]) -> int:
    """The activation whose range gives a quantized one its scale: itself, or what ops that keep a scale have read.

    Args:
      graph: The network.
      tensor: Its index.
      integer: Indices of the ops that run in integers.
    """
    producer = graph.producer(tensor)
    while producer is not None and producer in integer and graph.ops[producer].opcode in kernels.KEEPS_SCALE:
        tensor = graph.activations_in(graph.ops[producer])[0]
        producer = graph.producer(tensor)
    return tensor
