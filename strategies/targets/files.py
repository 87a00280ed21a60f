"""A quantized file on a target: whether its table has a kernel for every op as the file runs it, and what they cost.

Nothing is taken from a plan: schemes are read off the types of the file's own tensors, so that files of any converter
can be asked about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...analyzer.conversion.type_check import BORDERS
from ...analyzer.network import flatbuffer as fb
from ...analyzer.network.graph import build_graph
from ...analyzer.schema import SCHEMES, Format, Graph, Op, Target
from .costs import border_cost, relative_cost, work

_FORMATS = {"int8": Format.INT8, "int16": Format.INT16, "float32": Format.FLOAT}
_OTHER = frozenset({"uint8", "float16"})
"""Types of activations that quantized files have and no table knows."""

_WEIGHT_BITS = {"int4": 4, "int8": 8, "float32": 32}


@dataclass(frozen=True)
class FileOp:
    """One op of a file, as a target's table names what it does.

    Attributes:
      op: Of the file's own graph.
      scheme: Name of its scheme; "" where it is a border, where it handles no activation, and where no table knows it.
      border: Formats that a QUANTIZE or DEQUANTIZE reads and writes; None for any other op.
      unknown: What about it no table knows, in words; "" for nothing.
    """

    op: Op
    scheme: str = ""
    border: tuple[Format, Format] | None = None
    unknown: str = ""


@dataclass(frozen=True)
class FileOps:
    """A file's ops.

    Attributes:
      graph: The file's own; its tensors have the file's types.
      ops: In execution order.
      per_channel: Whether any weights have several scales.
    """

    graph: Graph
    ops: tuple[FileOp, ...]
    per_channel: bool

    @classmethod
    def read(cls, file: bytes) -> FileOps:
        """Reads a file.

        Raises:
          UnsupportedModel: The bytes are no TFLite model.
        """
        graph, tensors = build_graph(file), fb.read(file).subgraphs[0].tensors
        weights = [tensors[op.weights].quantization for op in graph.ops if op.weights is not None]
        several = any(q is not None and q.scale is not None and len(q.scale) > 1 for q in weights)
        return cls(graph, tuple(_read(op, graph) for op in graph.ops), several)

    @property
    def int16_share(self) -> float:
        """Share of the multiply-accumulates that run in int16 kernels."""
        slow = sum(o.op.macs for o in self.ops if o.scheme and SCHEMES[o.scheme].format is Format.INT16)
        return slow / max(1, sum(o.op.macs for o in self.ops))

    def obstacle(self, target: Target) -> str:
        """Why a target cannot run the file, by its table: the first reason; "" where it can."""
        if self.per_channel and not target.per_channel:
            return "its weights have a scale for each channel"
        for entry in self.ops:
            if entry.unknown:
                return f"{entry.op.layer} ({entry.op.opcode}): {entry.unknown}"
            if (
                entry.border is not None
                and entry.border[0] is not entry.border[1]
                and entry.border not in target.border
            ):
                return f"it has no op that makes {entry.border[1]} of {entry.border[0]}"
            if entry.scheme and target.kernel(entry.op.opcode, entry.scheme) is None:
                return f"it has no {entry.op.opcode} in {entry.scheme}"
        return ""

    def cost(self, target: Target, parent: Graph) -> float | None:
        """Time of one sample on a target, one op after the other, in the unit of `relative_cost`.

        Args:
          target: Where it shall run.
          parent: The float network; where the file has its ops, one for one, a table of measured times holds too.

        Returns:
          None where the target cannot run the file, or was measured and the ops are not the float network's.
        """
        if self.obstacle(target):
            return None
        real = [entry for entry in self.ops if entry.border is None]
        same = len(real) == len(parent.ops) and all(
            entry.op.opcode == op.opcode and entry.scheme in ("", *op.schemes)
            for entry, op in zip(real, parent.ops, strict=True)
        )
        if target.measured and not same:
            return None
        borders = [border_cost(target, self._elements(e.op), read=e.border[0], written=e.border[1])
                   for e in self.ops if e.border is not None]  # fmt: skip
        originals: list[Op] = list(parent.ops) if same else [entry.op for entry in real]
        graph = parent if same else self.graph
        costs = [_cost(target, op, graph, e.scheme, same) for e, op in zip(real, originals, strict=True) if e.scheme]
        return math.fsum([*costs, *(cost for cost in borders if cost is not None)])

    def _elements(self, op: Op) -> int:
        return sum(self.graph.tensors[t].elements for t in op.outputs)


def _cost(target: Target, op: Op, graph: Graph, scheme: str, is_parent: bool) -> float:
    if is_parent:
        return relative_cost(target, op, graph, scheme)
    kernel = target.kernel(op.opcode, scheme)
    assert kernel is not None, "what lacks a kernel is an obstacle"
    return kernel.cost * work(op, graph)


def _read(op: Op, graph: Graph) -> FileOp:
    read = [graph.tensors[t] for t in op.inputs if t >= 0 and not graph.tensors[t].is_constant]
    written = [graph.tensors[t] for t in op.outputs]
    if op.opcode in BORDERS:
        ends = [_FORMATS.get(t.dtype) for t in (graph.tensors[op.inputs[0]], written[0])]
        first, last = ends
        if first is None or last is None:
            types = f"{graph.tensors[op.inputs[0]].dtype} to {written[0].dtype}"
            return FileOp(op, unknown=f"no table has borders from {types}")
        return FileOp(op, border=(first, last))
    dtypes = {t.dtype for t in (*read, *written) if t.dtype in _FORMATS or t.dtype in _OTHER}
    if not dtypes:
        return FileOp(op)
    if len(dtypes) > 1 or dtypes & _OTHER:
        return FileOp(op, unknown=f"no table has activations of {' and '.join(sorted(dtypes))}")
    form = _FORMATS[dtypes.pop()]
    dtype = graph.tensors[op.weights].dtype if op.weights is not None else "float32" if form is Format.FLOAT else "int8"
    for scheme in SCHEMES.values():
        if scheme.format is form and scheme.weight_bits == _WEIGHT_BITS.get(dtype):
            return FileOp(op, scheme.name)
    return FileOp(op, unknown=f"no table has {dtype} weights with {form.value} activations")
