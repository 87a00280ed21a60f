"""Weights with their rarest values clipped, so that all others get a finer step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...analyzer.measures.quantization import best_weight_scales, weight_scales
from ...analyzer.network import flatbuffer as fb
from ...analyzer.schema import SCHEMES, Graph, Op, Plan

_SHARES = tuple(np.linspace(1.0, 0.3, 71).tolist())
"""Of the scale that clips nothing, the widest first: of equally good ones it is taken."""


def clipped_weights(flatbuffer: bytes, graph: Graph, plan: Plan) -> Mapping[int, np.ndarray]:
    """Weights whose grid has the least mean squared error, each channel or tensor with its own.

    A channel's largest weight tells litert-quantizer the scale; clipping the float weights moves it.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      plan: Says which weights have 4 or 8 bits, and whether each channel has a scale.

    Returns:
      By tensor index, float32, those weights alone that clipping changes. Buffers that are read in unlike ways are left
      out.
    """
    model = fb.read(flatbuffer)
    found: dict[int, np.ndarray] = {}
    for readers in _readers(graph).values():
        ways = {(_weight_bits(plan, op), op.channel_axis, graph.tensors[_weights(op)].shape) for op in readers}
        bits, axis, _ = min(ways, key=str)
        if len(ways) > 1 or bits > 8:
            continue
        axis = axis if plan.per_channel else None
        values = fb.constant(model, model.subgraphs[0].tensors[_weights(readers[0])])
        assert values is not None, "weights are constants"
        best = best_weight_scales(values, axis, bits, _SHARES)
        if (best < weight_scales(values, axis, bits)).any():
            bound = best * np.float32(2 ** (bits - 1) - 1)
            clipped = np.clip(values, -bound, bound).astype(np.float32)
            found.update({_weights(op): clipped for op in readers})
    return found


def _readers(graph: Graph) -> Mapping[int, list[Op]]:
    """The ops that read each buffer of weights, by the buffer; none of a buffer that is read as something else too."""
    found: dict[int, list[Op]] = {}
    elsewhere = set()
    for op in graph.ops:
        for tensor in (t for t in op.inputs if t >= 0):
            buffer = graph.tensors[tensor].buffer
            if buffer is not None and tensor == op.weights:
                found.setdefault(buffer, []).append(op)
            elif buffer is not None:
                elsewhere.add(buffer)
    return {buffer: ops for buffer, ops in found.items() if buffer not in elsewhere}


def _weights(op: Op) -> int:
    assert op.weights is not None
    return op.weights


def _weight_bits(plan: Plan, op: Op) -> int:
    return SCHEMES[plan.assignments[op.index].scheme].weight_bits
