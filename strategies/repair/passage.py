"""The float network and the planned one side by side, layer by layer: what one reads, and what the other answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...analyzer.conversion.dequantized import dequantize, weight_scales_of
from ...analyzer.conversion.layers import Layer, place, shared_weights
from ...analyzer.conversion.weight_ranges import LARGEST_BIAS
from ...analyzer.measures.calibration import SampleSource
from ...analyzer.network import flatbuffer as fb
from ...analyzer.network.differentiable.nodes import Node, read_network
from ...analyzer.network.kernels import BIAS_INPUT, DATA_INPUT, WEIGHTED, WEIGHTS_INPUT
from ...analyzer.schema import Graph, Plan
from .patches import Patches, patches_of
from .walk import Walk, peak_bytes
from .weight_grid import WeightGrid, weight_grid

if TYPE_CHECKING:
    from .adaround import Reconstruction

_WALK_BYTES = 2**31
"""Memory for activations of all samples at one time."""
_ROW_BYTES = 2**28
"""Memory for the rows of one layer."""
_BLOCK = 32
_CLAMPS = {"NONE": (-np.inf, np.inf), "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


@dataclass(frozen=True)
class Stop:
    """A layer whose weights can be rounded one way or the other.

    Attributes:
      layer: Where its weights lie.
      node: The op of the file.
      patches: How it is a product of matrices.
    """

    layer: Layer
    node: Node
    patches: Patches


class Passage:
    """Both networks on their way from input to output.

    Args:
      flatbuffer: The float network.
      graph: Of `flatbuffer`.
      plan: One scheme for each op.
      emitted: What `converter.convert` made of them.
      samples: In content order; only the first ones where not all fit into memory.
      seed: Of the output positions that are looked at.
      teacher: The float network whose layers' outputs are wanted; it has the ops of `flatbuffer`.

    Attributes:
      stops: In execution order.
      left_out: Ops that have 4- or 8-bit weights and are no stops: they share them with others, or compute their bias.
      samples: How many are used.

    Raises:
      UnsupportedModel: Some op has no differentiable rule.
    """

    def __init__(
        self, flatbuffer: bytes, graph: Graph, plan: Plan, emitted: bytes, samples: SampleSource, seed: int,
        teacher: bytes,
    ) -> None:  # fmt: skip
        quantized = dequantize(emitted)
        self._graph, self._seed = graph, seed
        self._float, self._quantized = fb.read(flatbuffer), fb.read(quantized.flatbuffer)
        self._scales = weight_scales_of(emitted)
        nodes = read_network(quantized.flatbuffer)
        each = peak_bytes(read_network(flatbuffer)) + peak_bytes(nodes, quantized.grids)
        self.samples = max(1, min(len(samples), _WALK_BYTES // each))
        blocks = self._blocks(samples)
        self._teacher, self._student = Walk(teacher, blocks), Walk(quantized.flatbuffer, blocks, quantized.grids)
        layers = place(emitted, graph, plan).layers
        own = {readers[0].op for readers in shared_weights(layers, graph).values() if len(readers) == 1}
        rounded = [layer for layer in layers if layer.bits in (4, 8)]
        by_weights = {layer.placed_weights[0]: layer for layer in rounded if layer.op in own}
        self.stops = tuple(
            Stop(by_weights[weights], node, patches_of(node))
            for node in nodes.nodes
            if (weights := _fixed_weights(node)) in by_weights
        )
        reached = {stop.layer.op for stop in self.stops}
        self.left_out = tuple(layer.op for layer in rounded if layer.op not in reached)

    def arrive(self, stop: Stop, rows: int) -> Reconstruction:
        """Walks up to a layer.

        Args:
          stop: The next one.
          rows: How many output positions to look at, of all samples together; fewer where there are no more, or no
            memory for them.
        """
        from .adaround import Reconstruction

        self._teacher.pass_through(stop.layer.op)
        self._student.pass_through(stop.node.index - 1)
        patches, node = stop.patches, stop.node
        read = node.operand(DATA_INPUT.get(node.opcode, 0)).tensor
        op = self._graph.ops[stop.layer.op]
        generator = np.random.default_rng([self._seed, op.index])
        rows = min(rows, _ROW_BYTES // (4 * patches.groups * (patches.columns + patches.outputs)))
        per_sample = min(patches.positions, max(1, -(-rows // self.samples)))
        data, targets = [], []
        for block in range(self._student.blocks):
            values = self._student.block(block, read)
            chosen = np.argsort(generator.random((len(values), patches.positions)), axis=1)[:, :per_sample]
            where = np.repeat(np.arange(len(values)), per_sample), chosen.reshape(-1)
            data.append(patches.rows(values, *where))
            targets.append(patches.targets(self._teacher.block(block, op.outputs[0]), *where))
        order = generator.permutation(self.samples * per_sample)
        return Reconstruction(
            np.concatenate(data, axis=1)[:, order], np.concatenate(targets, axis=1)[:, order],
            self._bias(stop), _CLAMPS[op.activation],
        )  # fmt: skip

    def grid(self, stop: Stop, moments: np.ndarray | None) -> WeightGrid:
        """The grid of a layer's weights; see `weight_grid` for `moments`."""
        per_output = (stop.patches.groups, 1, stop.patches.outputs)
        shape = (1, 1, 1) if stop.layer.axis is None else per_output
        least = np.abs(self._bias(stop), dtype=np.float64) / (stop.layer.input_scale * LARGEST_BIAS)
        return weight_grid(
            stop.patches.matrix(_constant(self._float, stop.layer.weights)),
            stop.layer.bits,
            emitted=self._scales[stop.layer.placed_weights[0]].reshape(shape),
            least=least.max(keepdims=True) if stop.layer.axis is None else least,
            moments=moments,
        )

    def plain_weights(self, stop: Stop) -> np.ndarray:
        """As the converter rounds them, in float, in their own shape."""
        return _constant(self._quantized, stop.layer.placed_weights[0])

    def depart(self, stop: Stop, weights: np.ndarray) -> None:
        """Passes a layer with these weights, in their own shape."""
        self._student.pass_through(stop.node.index, {stop.layer.placed_weights[0]: weights})

    def _bias(self, stop: Stop) -> np.ndarray:
        shape = (stop.patches.groups, 1, stop.patches.outputs)
        if stop.layer.placed_bias is None:
            return np.zeros(shape, np.float32)
        return _constant(self._quantized, stop.layer.placed_bias).reshape(shape)

    def _blocks(self, samples: SampleSource) -> list[list[np.ndarray]]:
        shapes = [self._graph.tensors[t].shape for t in self._graph.inputs]
        starts = range(0, self.samples, _BLOCK)
        blocks = [samples.block(start, min(start + _BLOCK, self.samples)) for start in starts]
        return [_shaped(block, shapes) for block in blocks]


def _shaped(block: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    return [values.reshape(len(values), *shape) for values, shape in zip(block, shapes, strict=True)]


def _fixed_weights(node: Node) -> int:
    """The tensor of an op's weights; -1 where it has none, or computes its bias."""
    if node.opcode not in WEIGHTED:
        return -1
    bias = BIAS_INPUT[node.opcode]
    computed = node.has(bias) and node.operand(bias).constant is None
    return -1 if computed else node.operand(WEIGHTS_INPUT[node.opcode]).tensor


def _constant(model: Any, tensor: int) -> np.ndarray:
    values = fb.constant(model, model.subgraphs[0].tensors[tensor])
    assert values is not None, "layers have constant weights and biases"
    return values
