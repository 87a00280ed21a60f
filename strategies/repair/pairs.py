"""Pairs of layers between which the channels of an activation may trade scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...analyzer.network import flatbuffer as fb
from ...analyzer.network.kernels import CHANNEL_AXIS
from ...analyzer.network.wiring import OUTPUT, Wiring, wire
from ...analyzer.schema import Graph, Op

HOMOGENEOUS = frozenset({"NONE", "RELU", "RELU6"})
"""Fused activations with `f(x / s) = f(x) / s` for s > 0; RELU6 only below 6."""

LAYERS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_BRIDGES = frozenset({"PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE"})
"""Ops that are homogeneous too, and do not mix channels where the last axis stays what it was."""

RETURNED = "the network returns it"
SEVERAL = "several ops read it"
OTHER_READER = "what reads it has no weights for each channel"
ACTIVATION = "its activation function is no ReLU"
NOT_ITS_OWN = "weights or biases are computed, or read by several ops"


@dataclass(frozen=True)
class Pair:
    """Two layers with one activation between them.

    Attributes:
      first: Index of the op that writes the activation.
      second: Index of the op that reads it, perhaps behind ops that do not mix channels.
      tensor: The activation, as `first` writes it.
      channels: Its last axis.
    """

    first: int
    second: int
    tensor: int
    channels: int


@dataclass(frozen=True)
class Pairs:
    """All pairs of a network.

    Attributes:
      pairs: In execution order of the first layers.
      left_out: By op with weights that begins no pair: why not.
    """

    pairs: tuple[Pair, ...]
    left_out: Mapping[int, str]


def find_pairs(flatbuffer: bytes, graph: Graph) -> Pairs:
    """Finds the pairs of a float network.

    Args:
      flatbuffer: The network.
      graph: Of `flatbuffer`.
    """
    model, wiring = fb.read(flatbuffer), wire(graph)
    means = [op.inputs[1] for op in graph.ops if op.opcode == "MEAN"]
    axes = {tensor: fb.constant(model, model.subgraphs[0].tensors[tensor]) for tensor in means}
    pairs: list[Pair] = []
    left_out: dict[int, str] = {}
    for op in graph.ops:
        if op.weights is not None:
            found = _partner(graph, wiring, op, axes)
            if isinstance(found, Pair):
                pairs.append(found)
            else:
                left_out[op.index] = found
    return Pairs(tuple(pairs), left_out)


def _partner(graph: Graph, wiring: Wiring, op: Op, axes: Mapping[int, np.ndarray | None]) -> Pair | str:
    """The pair that an op begins, or why it begins none."""
    if op.opcode not in LAYERS or op.activation not in HOMOGENEOUS:
        return ACTIVATION if op.opcode in LAYERS else OTHER_READER
    tensor = op.outputs[0]
    channels = graph.tensors[tensor].shape[-1]
    current = tensor
    while True:
        readers = wiring.readers[current]
        if OUTPUT in readers or current in graph.compared:
            return RETURNED
        if len(readers) != 1:
            return SEVERAL
        reader = graph.ops[readers[0]]
        if reader.opcode in LAYERS:
            break
        if not _keeps_channels(graph, reader, current, axes):
            return OTHER_READER
        current = reader.outputs[0]
    if not (_owns_constants(graph, op) and _owns_constants(graph, reader)):
        return NOT_ITS_OWN
    return Pair(op.index, reader.index, tensor, channels) if _fits(graph, op, reader, channels) else OTHER_READER


def _fits(graph: Graph, op: Op, reader: Op, channels: int) -> bool:
    """Whether the weights of both have the channels of the activation, each for itself."""
    assert op.weights is not None and reader.weights is not None, "both own their weights"
    written, read = graph.tensors[op.weights].shape, graph.tensors[reader.weights].shape
    if written[CHANNEL_AXIS[op.opcode]] != channels:
        return False
    if reader.opcode == "DEPTHWISE_CONV_2D":
        return read[3] % channels == 0
    return read[-1] == channels  # fewer in a grouped convolution, more in a layer that flattens its input


def _keeps_channels(graph: Graph, op: Op, tensor: int, axes: Mapping[int, np.ndarray | None]) -> bool:
    """Whether an op treats the channels (last axis) of its input apart, and scales with it."""
    if op.opcode not in _BRIDGES or op.inputs[0] != tensor or op.activation != "NONE":
        return False
    before, after = graph.tensors[tensor].shape, graph.tensors[op.outputs[0]].shape
    if op.opcode == "MEAN":
        reduced = axes[op.inputs[1]]
        if reduced is None or any(int(axis) % len(before) == len(before) - 1 for axis in np.ravel(reduced)):
            return False
    return bool(after) and after[-1] == before[-1]


def _owns_constants(graph: Graph, op: Op) -> bool:
    """Whether an op's weights and bias are constants that no other op reads."""
    own = [t for t in (op.weights, op.bias) if t is not None]
    read = [t for other in graph.ops for t in other.inputs]
    has_all = op.weights is not None and all(graph.tensors[t].is_constant for t in own)
    return has_all and all(read.count(t) == 1 for t in own)


def written_ranges(op: Op, weights: np.ndarray) -> np.ndarray:
    """The largest |w| that each output channel is made with, [channels]."""
    axis = CHANNEL_AXIS[op.opcode]
    return np.asarray(np.abs(weights).max(axis=tuple(a for a in range(weights.ndim) if a != axis)))


def read_ranges(op: Op, weights: np.ndarray, channels: int) -> np.ndarray:
    """The largest |w| that each input channel is read with, [channels]."""
    last = np.abs(weights).max(axis=tuple(range(weights.ndim - 1)))
    return np.asarray(last.reshape(channels, -1).max(axis=1))


def scale_written(op: Op, weights: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Weights with every output channel multiplied by its factor, [channels]."""
    shape = [1] * weights.ndim
    shape[CHANNEL_AXIS[op.opcode]] = -1
    return np.asarray(weights * factors.reshape(shape))


def scale_read(weights: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Weights with every input channel multiplied by its factor, [channels]; input channels lie along the last axis.

    Of a depthwise layer with a multiplier, so many output channels read one input channel.
    """
    return np.asarray(weights * np.repeat(factors, weights.shape[-1] // len(factors)))
