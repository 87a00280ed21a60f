"""A quantized flatbuffer without its parent: its ops, and the grids and values of its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..network import flatbuffer as fb
from ..network import kernels
from ..network.graph import build_graph
from ..network.units import BORDERS, Wires, weights_tensor
from ..schema import Graph, Op
from .file_tensors import activation_grid, scales_of, weight_grid
from .grids import Grid, WeightGrid


@dataclass(frozen=True, eq=False)
class Weights:
    """Quantized weights as they lie in a file.

    Attributes:
      integers: In the tensor's own shape.
      grid: What they stand for.
      axis: The channel axis; None where the op has none.
    """

    integers: np.ndarray
    grid: WeightGrid
    axis: int | None

    def by_channel(self) -> np.ndarray:
        """Integers less their zero points, int64 [channels, weights of one]; one channel where there is no axis."""
        steps = np.asarray(self.integers.astype(np.int64) - self.grid.zero_points)
        if self.axis is None:
            return steps.reshape(1, -1)
        return np.moveaxis(steps, self.axis, 0).reshape(steps.shape[self.axis], -1)

    def scales(self) -> np.ndarray:
        """Of each channel, float64 [channels]."""
        channels = 1 if self.axis is None else self.integers.shape[self.axis]
        return np.broadcast_to(self.grid.scales.reshape(-1).astype(np.float64), channels)


class OpenedFile:
    """A quantized file.

    Args:
      data: Its bytes.

    Attributes:
      graph: Its ops and tensors.
      wires: Who reads and writes what.
      external_buffers: Whether buffers lie behind the flatbuffer.

    Raises:
      UnsupportedModel: The bytes are no TFLite model.
    """

    def __init__(self, data: bytes) -> None:
        self._model = fb.read(data)
        self._tensors = self._model.subgraphs[0].tensors
        self.graph: Graph = build_graph(data)
        self.wires = Wires(self.graph)
        self.external_buffers = fb.has_external_buffers(data)

    def computing(self) -> Iterator[Op]:
        """The ops that compute something, in execution order."""
        return (op for op in self.graph.ops if op.opcode not in BORDERS)

    def layer(self, op: Op) -> str:
        """Label of an op. One that writes a model output through DEQUANTIZE has the name of that output."""
        readers = self.wires.readers.get(op.outputs[0], []) if op.outputs else []
        behind = [self.graph.ops[k] for k in readers if self.graph.ops[k].opcode == "DEQUANTIZE"]
        is_last = len(readers) == len(behind) == 1 and behind[0].outputs[0] in self.graph.outputs
        return behind[0].layer if is_last else op.layer

    def weights(self, op: Op) -> Weights | None:
        """The integer weights of an op; None where it has none, or float ones."""
        tensor = weights_tensor(self.graph, self.wires, op)
        if tensor is None:
            return None
        grid, integers = weight_grid(self._tensors[tensor.index]), fb.constant(self._model, self._tensors[tensor.index])
        if grid is None or integers is None:
            return None
        axis = kernels.CHANNEL_AXIS.get(op.opcode)
        return Weights(integers, grid, axis if axis is not None and axis < integers.ndim else None)

    def weights_dtype(self, op: Op) -> str | None:
        """Type of an op's constant weights, whatever lies in between; None where it has none."""
        tensor = weights_tensor(self.graph, self.wires, op)
        return None if tensor is None else tensor.dtype

    def reads_integers(self, op: Op) -> bool:
        """Whether an op reads its weights as integers."""
        place = kernels.WEIGHTS_INPUT.get(op.opcode)
        return place is not None and self.grid_dtype(op.inputs[place]) not in ("float32", "float16")

    def grid_dtype(self, tensor: int) -> str:
        """numpy's name of a tensor's type; int4 and the like keep TFLite's."""
        return self.graph.tensors[tensor].dtype

    def grid(self, tensor: int) -> Grid | None:
        """The grid of an activation that has one scale."""
        return activation_grid(self._tensors[tensor])

    def zero_points(self, tensor: int) -> np.ndarray:
        """All zero points of a tensor, int64; empty where it has none."""
        quantization = self._tensors[tensor].quantization
        found = None if quantization is None else quantization.zeroPoint
        return np.zeros(0, np.int64) if found is None else np.asarray(found, np.int64)

    def bias(self, op: Op) -> tuple[np.ndarray, np.ndarray | None] | None:
        """An op's integer bias and its scales; None where it has none, or a float one."""
        place = kernels.BIAS_INPUT.get(op.opcode)
        if place is None or place >= len(op.inputs) or op.inputs[place] < 0:
            return None
        tensor = self._tensors[op.inputs[place]]
        integers = fb.constant(self._model, tensor)
        return None if integers is None or integers.dtype.kind != "i" else (integers.reshape(-1), scales_of(tensor))
