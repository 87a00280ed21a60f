"""Where the weights and biases of a float network lie in the file that was made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network import flatbuffer as fb
from ..network.kernels import BIAS_INPUT, DATA_INPUT, WEIGHTS_INPUT
from ..schema import Graph, Op, Plan, Scheme
from .dequantized import BORDERS


@dataclass(frozen=True)
class Layer:
    """One op with constant weights, in the float network and in the file.

    Attributes:
      op: Its index in the float network.
      weights, bias: Tensors of the float network; `bias` is None where the op has none, or computes it.
      bits: Of the weights: 4, 8, 16 (hi + lo), or 32 (float).
      axis: Of the weights, along which they have a scale each; None where they have one.
      placed_ops: Ops of the file: one, or hi, lo and their sum.
      placed_weights: Tensors of the file: one, or hi and lo.
      placed_bias: Tensor of the file.
      input_scale: Of the activation that the op reads; 0 in float.
    """

    op: int
    weights: int
    bias: int | None
    bits: int
    axis: int | None
    placed_ops: tuple[int, ...]
    placed_weights: tuple[int, ...]
    placed_bias: int | None
    input_scale: float


@dataclass(frozen=True)
class Placement:
    """Where a float network lies in a file.

    Attributes:
      layers: In op order.
      compared: Tensors of the file that stand for `Graph.compared`.
    """

    layers: tuple[Layer, ...]
    compared: tuple[int, ...]


def place(emitted: bytes, graph: Graph, plan: Plan) -> Placement:
    """Finds the layers of a float network in the file that was converted from it.

    The file has the network's ops in order, border ops aside, and three for one whose weights are split.

    Args:
      emitted: What `converter.convert` made, its types checked.
      graph: Of the float network.
      plan: What the file was made from.
    """
    model = fb.read(emitted)
    subgraph = model.subgraphs[0]
    ops = iter([(k, op) for k, op in enumerate(subgraph.operators) if fb.opcode_name(model, op) not in BORDERS])
    activations = dict(zip(graph.inputs, (int(t) for t in subgraph.inputs), strict=True))
    layers = []
    for op, scheme in zip(graph.ops, plan.schemes, strict=True):
        if op.opcode in BORDERS:
            activations[op.outputs[0]] = activations[op.inputs[0]]
            continue
        parts = [next(ops) for _ in range(3 if scheme.is_split else 1)]
        activations.update(zip(op.outputs, (int(t) for t in parts[-1][1].outputs), strict=True))
        if op.weights is not None:
            layers.append(_layer(subgraph.tensors, op, scheme, parts, plan.per_channel))
    returned = dict(zip(graph.outputs, (int(t) for t in subgraph.outputs), strict=True))
    compared = tuple(
        returned[output] if tensor == output else activations[tensor]
        for tensor, output in zip(graph.compared, graph.outputs, strict=True)
    )
    return Placement(tuple(layers), compared)


def _layer(
    tensors: Sequence[Any], op: Op, scheme: Scheme, parts: Sequence[tuple[int, Any]], per_channel: bool
) -> Layer:  # fmt: skip
    assert op.weights is not None
    first = [int(t) for t in parts[0][1].inputs]
    weights, bias = WEIGHTS_INPUT[op.opcode], BIAS_INPUT[op.opcode]
    read = tensors[first[DATA_INPUT.get(op.opcode, 0)]].quantization
    has_bias = op.bias is not None and bias < len(first) and first[bias] >= 0
    return Layer(
        op=op.index,
        weights=op.weights,
        bias=op.bias if has_bias else None,
        bits=scheme.weight_bits,
        axis=op.channel_axis if per_channel else None,
        placed_ops=tuple(index for index, _ in parts),
        placed_weights=tuple(int(part.inputs[weights]) for _, part in parts[:2]),
        placed_bias=first[bias] if has_bias else None,
        input_scale=0.0 if scheme.is_float else float(np.float32(read.scale[0])),
    )


def shared_weights(layers: Sequence[Layer], graph: Graph) -> Mapping[int, tuple[Layer, ...]]:
    """The layers that read each buffer of weights which can be changed as one, by its first tensor.

    Left out are buffers that are read in unlike ways (other bits, shapes, axes, or as something else than weights):
    there is no one set of numbers for what they become in the file.
    """
    by_buffer: dict[int, list[Layer]] = {}
    for layer in layers:
        buffer = graph.tensors[layer.weights].buffer
        assert buffer is not None, "layers have constant weights"
        by_buffer.setdefault(buffer, []).append(layer)
    elsewhere = {
        graph.tensors[t].buffer
        for op in graph.ops for t in op.inputs
        if t >= 0 and t != op.weights
    }  # fmt: skip
    found = {}
    for buffer, readers in by_buffer.items():
        ways = {(r.bits, r.axis, graph.tensors[r.weights].shape) for r in readers}
        if len(ways) == 1 and buffer not in elsewhere:
            found[min(r.weights for r in readers)] = tuple(readers)
    return found


def own_biases(layers: Sequence[Layer], graph: Graph) -> frozenset[int]:
    """The constant bias tensors that are read as biases alone."""
    elsewhere = {t for op in graph.ops for t in op.inputs if t != op.bias}
    biases = {layer.bias for layer in layers if layer.bias is not None}
    return frozenset(t for t in biases if t not in elsewhere and graph.tensors[t].is_constant)
